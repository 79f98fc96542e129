// Reports the journal to the gateway until each record is settled: at once when a generation finishes, together what finishes while a
// report is on its way, and each second as the heartbeat that says this node lives. One call at a time, each with a deadline; failures
// are retried for ever. An answer's end waits for its record to be settled, so that what it held is free when its client asks again.

import {
  type Boot,
  type NodeStatus,
  SYNC_RECORDS_MAX,
  type SyncRequest,
  type SyncResponse,
} from '../../contract/internal/sync.ts'
import { CallRefused, GatewayCalls, type GatewayCallsOptions } from './gateway-calls.ts'
import type { Journal } from './journal.ts'

export interface SyncOptions extends GatewayCallsOptions {
  boot: Boot
  journal: Journal
  status: () => NodeStatus
  running_ids?: () => string[] // some of what runs here, to be told what of it must stop
  on_failure: (reason: string) => void // said when it begins or changes, and each minute while it lasts
  on_stop?: (request_ids: string[]) => void // what the gateway no longer wants to run
  job_slots?: () => number // how many jobs there is room for
  on_jobs?: (count: number) => void // so many jobs wait at the gateway, at most as many as there is room for
  on_behind?: () => void // the database came back older than what it had acknowledged
  on_elsewhere?: (count: number) => void // so many records are kept for another ledger than the gateway's; said when they become more
  heartbeat_ms?: number
  call_ms_max?: number
  settle_ms_max?: number // that the end of an answer waits for its bill; its bytes pass the same gateway
  backoff_ms_max?: number
  say_again_ms?: number
}

// The first pause is short, because a node and its gateway often start together.
const BACKOFF_MS_MIN = 50

const SAY_AGAIN_MS = 60_000

const GATHER_MS = 10

/** Why the gateway takes no report; one that was refused will be, until a person changes a secret. */
export interface ReportFailure {
  reason: string
  is_refused: boolean
}

export class Sync {
  readonly #options: Required<SyncOptions>
  readonly #calls: GatewayCalls
  #loop: Promise<void> | null = null
  #is_stopping = false
  #is_stopped = false
  #is_poked = false
  #endPause = () => {}
  #gathering: NodeJS.Timeout | null = null
  #failures = 0
  #ledger_id: string | undefined // the gateway's, as it last said
  #elsewhere_count = 0
  #failure: ReportFailure | null = null
  #said_at = -Infinity
  #sequence = 0
  #asked_ms = -Infinity // when it was last asked what must stop
  readonly #waiting = new Map<string, () => void>() // ends of answers, by request id

  constructor(options: SyncOptions) {
    this.#options = {
      heartbeat_ms: 1000,
      call_ms_max: 5000,
      settle_ms_max: 5000,
      backoff_ms_max: 5000,
      say_again_ms: SAY_AGAIN_MS,
      on_stop: () => {},
      on_behind: () => {},
      on_elsewhere: () => {},
      running_ids: () => [],
      job_slots: () => 0,
      on_jobs: () => {},
      ...options,
    }
    this.#calls = new GatewayCalls(options)
  }

  /** Null while reports are taken. */
  get failure(): ReportFailure | null {
    return this.#failure
  }

  start(): void {
    this.#loop = this.#run()
  }

  /** Something finished: report soon. Many calls become one report; while the gateway is away its backoff stands. */
  poke(): void {
    this.#is_poked = true
    if (this.#failures === 0) this.#endPause()
  }

  /** The same of what nobody waits for: what finishes at nearly the same time goes in one report. */
  pokeSoon(): void {
    this.#gathering ??= setTimeout(() => this.poke(), GATHER_MS)
  }

  /** Resolves once its record is settled, or at once where that takes a while: an outage keeps no answer from its client. */
  async whenSettled(record: { request_id: string; attempt: number }): Promise<void> {
    const { request_id } = record
    if (this.#failures > 0 || this.#is_stopped || !this.#options.journal.isUnsettled(record)) return
    await new Promise<void>((resolve) => {
      const impatience = setTimeout(() => this.#release(request_id), this.#options.settle_ms_max)
      this.#waiting.set(request_id, () => {
        clearTimeout(impatience)
        resolve()
      })
    })
  }

  #release(...request_ids: string[]): void {
    for (const id of request_ids) {
      this.#waiting.get(id)?.()
      this.#waiting.delete(id)
    }
  }

  /** Ends the loop after one last report. */
  async stop(): Promise<void> {
    this.#is_stopping = true
    this.#endPause()
    await this.#loop
    await this.#report('stopped')
    this.#is_stopped = true
    this.#release(...this.#waiting.keys())
  }

  async #run(): Promise<void> {
    while (!this.#is_stopping) {
      this.#is_poked = false
      clearTimeout(this.#gathering ?? undefined)
      this.#gathering = null
      const is_complete = await this.#report()
      if (this.#is_stopping) return
      if (this.#failures > 0) await this.#pause(this.#backoff())
      else if (is_complete) await this.#untilDue()
    }
  }

  async #untilDue(): Promise<void> {
    if (!this.#is_poked && !this.#is_stopping) await this.#pause(this.#options.heartbeat_ms)
  }

  /** One call. True when nothing is left to report but what was asked to be sent again. */
  async #report(last?: 'stopped'): Promise<boolean> {
    const { journal, boot, status } = this.#options
    journal.retry()
    const request: SyncRequest = {
      node: { ...status(), ...(last && { state: last }) },
      boot,
      sequence: ++this.#sequence,
      sent_unix_ms: Date.now(),
      running_ids: this.#runningIds(),
      records: journal.unacknowledged(SYNC_RECORDS_MAX, this.#ledger_id),
      journal: journal.position,
      job_slots: last ? 0 : this.#options.job_slots(),
    }
    try {
      const { call_ms_max } = this.#options
      const answer = await this.#calls.post<SyncResponse>('/internal/sync', request, call_ms_max)
      const { settled, stop, ledger_id, ticket_keys, journal: counted, jobs = 0 } = answer
      this.#options.ticket_keys.learn(ticket_keys)
      this.#options.on_stop(stop)
      this.#noteMark(counted)
      const are_kept = journal.acknowledge(
        settled.filter(({ outcome }) => outcome !== 'retry' && outcome !== 'elsewhere'),
        counted?.mark,
      )
      journal.skip(settled.filter(({ outcome }) => outcome === 'elsewhere'))
      this.#follow(ledger_id)
      if (jobs > 0) this.#options.on_jobs(jobs)
      const is_done = are_kept && settled.every(({ outcome }) => outcome !== 'retry')
      this.#failures = is_done ? 0 : this.#failures + 1
      this.#failure = null
    } catch (error) {
      this.#failures++
      this.#fail({ reason: String(error), is_refused: isRefused(error) })
    }
    this.#release(...(this.#failures > 0 ? this.#waiting.keys() : request.records.map(({ request_id }) => request_id)))
    return request.records.length < SYNC_RECORDS_MAX
  }

  // What this report settled is settled there now; what was acknowledged before may not be.
  #noteMark(counted: SyncResponse['journal']): void {
    if (!counted?.is_behind) return
    this.#options.journal.resend(counted.mark)
    this.#options.on_behind()
  }

  /** What is owed to another ledger than the gateway's waits until the gateway is on that one. */
  #follow(ledger_id: string | undefined): void {
    this.#ledger_id = ledger_id
    const count = this.#options.journal.countElsewhere(ledger_id)
    if (count > this.#elsewhere_count) this.#options.on_elsewhere(count)
    this.#elsewhere_count = count
  }

  #fail(failure: ReportFailure): void {
    const is_news = failure.reason !== this.#failure?.reason
    this.#failure = failure
    if (!is_news && performance.now() - this.#said_at < this.#options.say_again_ms) return
    this.#said_at = performance.now()
    this.#options.on_failure(failure.reason)
  }

  /** Once a heartbeat: reports may come more often, and this costs more than all the rest of one that is empty. */
  #runningIds(): string[] {
    const now_ms = performance.now()
    if (now_ms - this.#asked_ms < this.#options.heartbeat_ms) return []
    this.#asked_ms = now_ms
    return this.#options.running_ids()
  }

  // The jitter is full, so that many nodes do not return to a gateway in step.
  #backoff(): number {
    const { backoff_ms_max } = this.#options
    return Math.min(backoff_ms_max, BACKOFF_MS_MIN * 2 ** Math.min(this.#failures, 10)) * (0.5 + Math.random() / 2)
  }

  #pause(milliseconds: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, milliseconds)
      this.#endPause = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }
}

function isRefused(error: unknown): boolean {
  return error instanceof CallRefused && (error.status === 401 || error.status === 403)
}
