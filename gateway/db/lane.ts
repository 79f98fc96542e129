// A queue in front of one connection. While a call runs, what arrives queues; when it ends, all of it goes as ONE call. So a hot
// account costs less a request as load grows, with no timer and no delay at low load.
// An unknown outcome is asked again until the caller's patience ends; what must end, until there is an answer: what was sent may
// still commit, and has to be undone then. An item that the database refuses fails alone.

import { type Connection, StatementRefused } from './connection.ts'

export type Answer = object | 'busy' | 'unavailable'

interface Waiting {
  name: string
  item: object
  settle: (answer: Answer) => void
  /** The caller has been told `unavailable` already. */
  given_up: boolean
}

export interface LaneOptions {
  connect: () => Connection
  patience_ms: number
  /** A lane that often takes the same locks: its call under way ends first, and more has queued by then. */
  after?: Lane
  /** Called with an answer nobody waited for any more. */
  onLate?: (answer: object, item: object, name: string) => void
  /** Whether a call of this name is asked until it is answered, though its caller gave up. */
  mustEnd?: (name: string) => boolean
  /** How many items go as one call. */
  batch_max?: number
}

const QUEUE_MAX = 2000
const BATCH_MAX = 200
const LATE_MAX = 1000
const RETRY_PAUSE_MS = 50
const RETRY_LATE_PAUSE_MS = 250 // where nobody waits

export class Lane {
  readonly #options: LaneOptions
  readonly #queue: Waiting[] = []
  #connection: Connection | null = null
  #running = false
  /** The call that was sent last. */
  underway: Promise<void> = Promise.resolve()
  #last_failed = false

  constructor(options: LaneOptions) {
    this.#options = options
  }

  /** The answer of the SQL function `name` for one item. */
  ask(name: string, item: object): Promise<Answer> {
    if (this.#queue.length >= QUEUE_MAX) return Promise.resolve('busy')
    return new Promise((resolve) => {
      const waiting: Waiting = { name, item, given_up: false, settle: resolve }
      const timer = setTimeout(() => {
        waiting.given_up = true
        resolve('unavailable')
      }, this.#patience_ms())
      waiting.settle = (answer) => {
        clearTimeout(timer)
        if (waiting.given_up && typeof answer === 'object') this.#options.onLate?.(answer, item, name)
        resolve(answer)
      }
      this.#queue.push(waiting)
      if (!this.#running) void this.#run()
    })
  }

  /** While the database is known to be away, half of it: time for a few tries, and an early answer. */
  #patience_ms(): number {
    return this.#last_failed ? this.#options.patience_ms / 2 : this.#options.patience_ms
  }

  async #run(): Promise<void> {
    this.#running = true
    while (this.#queue.length > 0) {
      await null // all that is asked in one turn, by a node's report or by callers who were just answered, goes as one call
      await this.#options.after?.underway
      this.underway = this.#carry(this.#next())
      await this.underway
    }
    this.#running = false
  }

  /** All that waits for the same function as the first, in order. */
  #next(): Waiting[] {
    const name = this.#queue[0]?.name
    const end = this.#queue.findIndex((waiting) => waiting.name !== name)
    return this.#queue.splice(0, Math.min(end < 0 ? this.#queue.length : end, this.#options.batch_max ?? BATCH_MAX))
  }

  async #carry(batch: Waiting[]): Promise<void> {
    this.#connection ??= this.#options.connect()
    try {
      const answers = await this.#connection.call(
        batch[0]!.name,
        batch.map((waiting) => waiting.item),
      )
      this.#last_failed = false
      batch.forEach((waiting, i) => void waiting.settle(answers[i]!))
    } catch (error) {
      await this.#recover(batch, error)
    }
  }

  async #recover(batch: Waiting[], error: unknown): Promise<void> {
    if (error instanceof StatementRefused) {
      if (batch.length > 1) for (const waiting of batch) await this.#carry([waiting])
      else this.#refuse(batch[0]!, error)
      return
    }
    console.error(`database: ${batch[0]!.name} of ${batch.length}: ${String(error)}`)
    this.#last_failed = true
    this.#connection?.discard()
    this.#connection = null
    const pause_ms = batch.every(({ given_up }) => given_up) ? RETRY_LATE_PAUSE_MS : RETRY_PAUSE_MS
    await new Promise((resolve) => setTimeout(resolve, pause_ms))
    this.#queue.unshift(...batch.filter(({ given_up }) => !given_up))
    this.#keepLate(batch.filter(({ given_up, name }) => given_up && this.#options.mustEnd?.(name)))
  }

  /** Behind those whose caller waits. */
  #keepLate(late: Waiting[]): void {
    const room = Math.max(0, LATE_MAX - this.#queue.filter(({ given_up }) => given_up).length)
    this.#queue.push(...late.slice(0, room))
    if (late.length > room) console.error(`database: ${late.length - room} late items are left to their expiry`)
  }

  #refuse(waiting: Waiting, error: StatementRefused): void {
    console.error(`database: ${waiting.name} refused (${error.sqlstate}): ${error.message}`)
    waiting.settle({ decision: 'failed', sqlstate: error.sqlstate })
  }
}
