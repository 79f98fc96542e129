// The gateway as a node sees it: takes reports, remembers them, and settles as it is told; and gives the jobs that it has.

import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { onTestFinished } from 'vitest'
import { type PublicKey, verifies } from '../../contract/ed25519.ts'
import type { JobAnswer, JobAnswers, JobReports, JobsGiven, JobTaking, TakenJob } from '../../contract/internal/job.ts'
import {
  ANSWER_SIGNATURE_HEADER,
  NODE_KEY_HEADER,
  NODE_SIGNATURE_HEADER,
  type SettleOutcome,
  type SyncRequest,
  type SyncResponse,
  type UsageRecord,
} from '../../contract/internal/sync.ts'
import type { TicketIssuer } from '../../contract/internal/ticket.ts'
import { issuer } from './keys.ts'
import { PATIENCE_MS } from './patience.ts'

const JOB_CALLS = ['/internal/jobs/take', '/internal/jobs/report', '/internal/jobs/reports']
const callOf = (path: string) => path.slice(path.lastIndexOf('/') + 1)

export class FakeGateway {
  readonly reports: SyncRequest[] = []
  settle: (record: UsageRecord) => SettleOutcome | 'leave out' = () => 'posted'
  /** Requests that it no longer wants to run. */
  stop: string[] = []
  /** The ledger that it says it is on. */
  ledger_id = 'the only one'
  /** Signs its answers. */
  issuer: TicketIssuer = issuer
  /** The keys that it tells of. */
  ticket_keys: PublicKey[] = issuer.keys
  status = 200
  /** Jobs that wait, the next one first. */
  jobs: TakenJob[] = []
  /** What it was asked and told of jobs, by the end of the path. */
  readonly job_calls: { call: string; told: object }[] = []
  /** What it waits for after a call has come and before it settles and answers. */
  answers: (path: string) => Promise<unknown> = async () => {}
  /** How far it says that the node's journal is counted; `is_behind` only once. */
  counted: SyncResponse['journal'] | null = null
  readonly #server: Server
  #refusal: string | null = null

  private constructor(server: Server) {
    this.#server = server
  }

  static async start(): Promise<FakeGateway> {
    const server = createServer()
    const gateway = new FakeGateway(server)
    server.on('request', async (request, response) => {
      const body = (await Array.fromAsync(request)).join('')
      const signature = String(request.headers[NODE_SIGNATURE_HEADER])
      const x = String(request.headers[NODE_KEY_HEADER])
      const is_known = ['/internal/sync', ...JOB_CALLS].includes(request.url!)
      const is_signed = is_known && (await verifies({ x }, 'report', body, signature))
      const told = is_signed ? JSON.parse(body) : null
      const report = request.url === '/internal/sync' ? (told as SyncRequest | null) : null
      if (report) gateway.reports.push(report)
      else if (told) gateway.job_calls.push({ call: callOf(request.url!), told })
      await gateway.answers(request.url!)
      const settled = report ? gateway.#answer(report) : told ? gateway.#answerOfJobs(callOf(request.url!), told) : '{}'
      const answer = gateway.#refusal ?? settled
      const signatures = await gateway.issuer.signAnswer(signature, answer)
      const headers = { 'content-type': 'application/json', [ANSWER_SIGNATURE_HEADER]: signatures }
      response.writeHead(is_signed && !gateway.#refusal ? gateway.status : 401, headers)
      response.end(answer)
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    onTestFinished(() => {
      server.close()
      server.closeAllConnections()
    })
    return gateway
  }

  /** Every report is refused with this code from now on. */
  refuse(code: string): void {
    this.#refusal = JSON.stringify({ error: { code, message: 'refused' } })
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  get records(): UsageRecord[] {
    return this.reports.flatMap((report) => report.records)
  }

  /** The record of a request, once it comes; of what must be there already, with 0. */
  async record(request_id: string, milliseconds = PATIENCE_MS): Promise<UsageRecord> {
    const deadline = performance.now() + milliseconds
    for (;;) {
      const record = this.records.find((candidate) => candidate.request_id === request_id)
      if (record) return record
      if (performance.now() > deadline) throw new Error(`no record of ${request_id} within ${milliseconds} ms`)
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
  }

  #count(): Pick<SyncResponse, 'journal'> {
    const journal = this.counted
    if (!journal) return {}
    this.counted = { ...journal, is_behind: false }
    return { journal }
  }

  #answer(report: SyncRequest): string {
    const { stop, ledger_id, ticket_keys } = this
    return JSON.stringify({
      ...{ settled: this.#settle(report), stop, ledger_id, ticket_keys },
      ...this.#count(),
      jobs: Math.min(this.jobs.length, report.job_slots ?? 0),
    } satisfies SyncResponse)
  }

  #answerOfJobs(call: string, told: JobTaking | JobReports): string {
    if ('take_id' in told) {
      const [job = null, ...further_jobs] = this.jobs.splice(0, 1 + (told.further_take_ids?.length ?? 0))
      return JSON.stringify({ job, further_jobs } satisfies JobsGiven)
    }
    if (call === 'report') return JSON.stringify({ decision: 'kept' } satisfies JobAnswer)
    return JSON.stringify({ decisions: told.reports.map(() => 'kept' as const) } satisfies JobAnswers)
  }

  #settle(report: SyncRequest): SyncResponse['settled'] {
    if (this.status !== 200) return []
    return report.records.flatMap((record) => {
      const { request_id, attempt } = record
      const outcome = this.settle(record)
      return outcome === 'leave out' ? [] : [{ request_id, attempt, outcome }]
    })
  }
}
