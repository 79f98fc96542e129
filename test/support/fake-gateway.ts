// The gateway as a node sees it: takes reports, remembers them, and settles as it is told.

import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { onTestFinished } from 'vitest'
import {
  NODE_SIGNATURE_HEADER,
  type SettleOutcome,
  type SyncRequest,
  type UsageRecord,
} from '../../contract/internal/sync.ts'
import { verify } from '../../contract/internal/ticket.ts'
import { NODE_SECRET } from './generate.ts'
import { PATIENCE_MS } from './patience.ts'

export class FakeGateway {
  readonly reports: SyncRequest[] = []
  settle: (record: UsageRecord) => SettleOutcome | 'leave out' = () => 'posted'
  /** Requests that it no longer wants to run. */
  stop: string[] = []
  status = 200
  /** What it waits for after it has taken a report and before it answers. */
  answers: () => Promise<unknown> = async () => {}
  readonly #server: Server

  private constructor(server: Server) {
    this.#server = server
  }

  static async start(): Promise<FakeGateway> {
    const server = createServer()
    const gateway = new FakeGateway(server)
    server.on('request', async (request, response) => {
      const body = (await Array.fromAsync(request)).join('')
      const signature = String(request.headers[NODE_SIGNATURE_HEADER])
      const is_ours = request.url === '/internal/sync' && (await verify(body, signature, NODE_SECRET))
      const settled = is_ours ? gateway.#settle(JSON.parse(body) as SyncRequest) : []
      await gateway.answers()
      response.writeHead(is_ours ? gateway.status : 401, { 'content-type': 'application/json' })
      response.end(is_ours ? JSON.stringify({ settled, stop: gateway.stop }) : '{}')
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    onTestFinished(() => {
      server.close()
      server.closeAllConnections()
    })
    return gateway
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

  #settle(report: SyncRequest) {
    this.reports.push(report)
    if (this.status !== 200) return []
    return report.records
      .map((record) => ({ request_id: record.request_id, attempt: record.attempt, outcome: this.settle(record) }))
      .filter(({ outcome }) => outcome !== 'leave out')
  }
}
