// Reports the journal to the gateway until each record is settled: at once when a generation finishes, together what finishes while a
// report is on its way, and each second as the heartbeat that says this node lives. One call at a time, each with a deadline; failures
// are retried for ever. An answer's end waits for its record to be settled, so that what it held is free when its client asks again.

import type { Signer } from '../../contract/ed25519.ts'
import {
  ANSWER_SIGNATURE_HEADER,
  type Boot,
  NODE_KEY_HEADER,
  NODE_SIGNATURE_HEADER,
  type NodeStatus,
  SYNC_RECORDS_MAX,
  type SyncRequest,
  type SyncResponse,
} from '../../contract/internal/sync.ts'
import { verifyAnswer } from '../../contract/internal/ticket.ts'
import type { Journal } from './journal.ts'
import type { TicketKeys } from './ticket-keys.ts'

export interface SyncOptions {
  gateway_url: string
  node_key: Signer // signs the reports
  ticket_keys: Pick<TicketKeys, 'known' | 'learn'> // whoever signs the answers
  boot: Boot
  journal: Journal
  status: () => NodeStatus
  running_ids?: () => string[] // some of what runs here, to be told what of it must stop
  on_failure: (reason: string) => void
  on_stop?: (request_ids: string[]) => void // what the gateway no longer wants to run
  heartbeat_ms?: number
  call_ms_max?: number
  backoff_ms_max?: number
}

// The first pause is short, because a node and its gateway often start together.
const BACKOFF_MS_MIN = 50

// The longest that the end of an answer waits for its bill: a gateway that takes longer is as good as away.
const SETTLE_MS_MAX = 1000

export class Sync {
  readonly #options: Required<SyncOptions>
  #loop: Promise<void> | null = null
  #is_stopping = false
  #is_stopped = false
  #is_poked = false
  #endPause = () => {}
  #failures = 0
  #reason = '' // of the last failure that was said
  #sequence = 0
  #asked_ms = -Infinity // when it was last asked what must stop
  readonly #waiting = new Map<string, () => void>() // ends of answers, by request id

  constructor(options: SyncOptions) {
    this.#options = {
      heartbeat_ms: 1000,
      call_ms_max: 5000,
      backoff_ms_max: 5000,
      on_stop: () => {},
      running_ids: () => [],
      ...options,
    }
  }

  start(): void {
    this.#loop = this.#run()
  }

  /** Something finished: report soon. Many calls become one report; while the gateway is away its backoff stands. */
  poke(): void {
    this.#is_poked = true
    if (this.#failures === 0) this.#endPause()
  }

  /** Resolves once its record is settled, or at once where that takes a while: an outage keeps no answer from its client. */
  async whenSettled(record: { request_id: string; attempt: number }): Promise<void> {
    const { request_id } = record
    if (this.#failures > 0 || this.#is_stopped || !this.#options.journal.isUnsettled(record)) return
    await new Promise<void>((resolve) => {
      const impatience = setTimeout(() => this.#release(request_id), SETTLE_MS_MAX)
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
      records: journal.unacknowledged(SYNC_RECORDS_MAX),
    }
    try {
      const { settled, stop, ticket_keys } = await this.#post(request)
      this.#options.ticket_keys.learn(ticket_keys)
      this.#options.on_stop(stop)
      journal.acknowledge(settled.filter(({ outcome }) => outcome !== 'retry'))
      this.#failures = settled.some(({ outcome }) => outcome === 'retry') ? this.#failures + 1 : 0
      this.#reason = ''
    } catch (error) {
      this.#failures++
      this.#say(String(error))
    }
    this.#release(...(this.#failures > 0 ? this.#waiting.keys() : request.records.map(({ request_id }) => request_id)))
    return request.records.length < SYNC_RECORDS_MAX
  }

  /** Once a heartbeat: reports may come more often, and this costs more than all the rest of one that is empty. */
  #runningIds(): string[] {
    const now_ms = performance.now()
    if (now_ms - this.#asked_ms < this.#options.heartbeat_ms) return []
    this.#asked_ms = now_ms
    return this.#options.running_ids()
  }

  async #post(request: SyncRequest): Promise<SyncResponse> {
    const body = JSON.stringify(request)
    const { gateway_url, node_key, ticket_keys } = this.#options
    const report_signature = await node_key.sign('report', body)
    const response = await fetch(`${gateway_url}/internal/sync`, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        [NODE_KEY_HEADER]: node_key.x,
        [NODE_SIGNATURE_HEADER]: report_signature,
      },
      body,
      signal: AbortSignal.timeout(this.#options.call_ms_max),
    })
    const text = await response.text()
    if (!response.ok) throw new Error(`the gateway answered ${response.status} to a report${reasonIn(text)}`)
    const signatures = response.headers.get(ANSWER_SIGNATURE_HEADER) ?? ''
    // What it says is settled is forgotten here: so nobody else may say it.
    if (!(await verifyAnswer({ report_signature, body: text, signatures }, ticket_keys.known)))
      throw new Error('an answer to a report was signed by no key of the gateway that this node knows')
    return JSON.parse(text) as SyncResponse
  }

  /** Each reason once, until a report is taken again. */
  #say(reason: string): void {
    if (reason === this.#reason) return
    this.#reason = reason
    this.#options.on_failure(reason)
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

/** What the gateway says of why, in its own words. */
function reasonIn(text: string): string {
  try {
    const { error } = JSON.parse(text) as { error?: { code: string; message: string } }
    return error ? ` (${error.code}): ${error.message}` : ''
  } catch {
    return ''
  }
}
