// A queue in front of one connection. While a call runs, what arrives queues; when it ends, all of it goes as ONE call. So a hot
// account costs less a request as load grows, with no timer and no delay at low load. Who asks for much waits for itself (fair-queue.ts).
// What failed together is asked again in halves: an item that the database refuses, or that takes too long, fails alone. What has to be
// brought to an end is asked on where its caller gave up, within bounds; what may not be asked again is asked about (`onUnknown`).

import { type Connection, NoAnswer, StatementRefused, StatementUndone } from './connection.ts'
import { FairQueue } from './fair-queue.ts'

export type Answer = object | 'busy' | 'unavailable' | 'limited'

interface Waiting {
  name: string
  item: object
  party: string
  asked_ms: number
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
  /** Asks elsewhere what became of an item that got no answer in time; null where the item itself may be asked again. */
  onUnknown?: (name: string, item: object, is_wanted: boolean) => Promise<Answer> | null
  /** How many items go as one call. */
  batch_max?: number
  /** How many items of one party may wait: more would wait longer than their callers do. */
  party_max?: number
  /** How long the server may go on with a call whose connection was thrown away. */
  linger_ms?: number
}

const QUEUE_MAX = 2000
const BATCH_MAX = 200
const LATE_MAX = 1000
const LATE_MS_MAX = 15 * 60_000 // by then its reservation has expired
const RETRY_PAUSE_MS = 50
const RETRY_LATE_PAUSE_MS = 250 // where nobody waits

export class Lane {
  readonly #options: LaneOptions
  readonly #queue = new FairQueue<Waiting>()
  readonly #late: Waiting[] = []
  #connection: Connection | null = null
  #thrown_away_ms: [number, number] = [Number.NEGATIVE_INFINITY, Number.NEGATIVE_INFINITY] // the last two
  #running = false
  /** The call that was sent last. */
  underway: Promise<void> = Promise.resolve()
  #last_failed = false
  #batch_max: number
  #late_due_ms = 0

  constructor(options: LaneOptions) {
    this.#options = options
    this.#batch_max = this.#most
  }

  /** The answer of the SQL function `name` for one item. `party` says whose turn it takes. */
  ask(name: string, item: object, party = ''): Promise<Answer> {
    const { party_max = QUEUE_MAX } = this.#options
    if (this.#queue.waiting(party) >= party_max) return Promise.resolve(party_max < QUEUE_MAX ? 'limited' : 'busy')
    if (this.#queue.length >= QUEUE_MAX) {
      const other = this.#queue.yieldTo(party)
      if (!other) return Promise.resolve('busy')
      other.settle('busy')
    }
    return new Promise((resolve) => {
      const waiting: Waiting = { name, item, party, asked_ms: Date.now(), given_up: false, settle: resolve }
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

  get #most(): number {
    return this.#options.batch_max ?? BATCH_MAX
  }

  /** While the database is known to be away, half of it: time for a few tries, and an early answer. */
  #patience_ms(): number {
    return this.#last_failed ? this.#options.patience_ms / 2 : this.#options.patience_ms
  }

  async #run(): Promise<void> {
    this.#running = true
    while (this.#queue.length + this.#late.length > 0) {
      await null // all that is asked in one turn, by a node's report or by callers who were just answered, goes as one call
      await this.#options.after?.underway
      const batch = await this.#nextBatch()
      this.underway = this.#carry(batch)
      await this.underway
    }
    this.#running = false
  }

  /** Those that somebody waits for; in a pause of theirs, or once in a while between them, those that nobody does. */
  async #nextBatch(): Promise<Waiting[]> {
    const pause_ms = this.#late_due_ms - Date.now()
    if (this.#queue.length === 0) await sleep(Math.min(RETRY_LATE_PAUSE_MS, pause_ms))
    if (this.#late.length === 0 || Date.now() < this.#late_due_ms) return this.#queue.next(this.#batch_max)
    const name = this.#late[0]!.name
    const end = this.#late.findIndex((waiting) => waiting.name !== name)
    return this.#late.splice(0, Math.min(this.#batch_max, end < 0 ? this.#late.length : end))
  }

  async #carry(batch: Waiting[]): Promise<void> {
    const asked = batch.filter(({ given_up, name }) => !given_up || this.#mustEnd(name))
    if (asked.length === 0) return
    try {
      this.#connection ??= await this.#connected()
      const answers = await this.#connection.call(
        asked[0]!.name,
        asked.map((waiting) => waiting.item),
      )
      this.#last_failed = false
      this.#batch_max = Math.min(this.#most, 2 * this.#batch_max)
      asked.forEach((waiting, i) => void waiting.settle(answers[i]!))
    } catch (error) {
      await this.#recover(asked, error)
    }
  }

  /** A new connection, once no more than one that was thrown away can still be at work. */
  async #connected(): Promise<Connection> {
    await sleep(this.#thrown_away_ms[0] + (this.#options.linger_ms ?? 0) - Date.now())
    return this.#options.connect()
  }

  async #recover(batch: Waiting[], error: unknown): Promise<void> {
    const nothing_happened = error instanceof StatementRefused || error instanceof StatementUndone
    if (nothing_happened && batch.length > 1) for (const half of halves(batch)) await this.#carry(half)
    else if (error instanceof StatementRefused) this.#refuse(batch[0]!, error)
    else await this.#askAgain(batch, error)
  }

  async #askAgain(batch: Waiting[], error: unknown): Promise<void> {
    console.error(`database: ${batch[0]!.name} of ${batch.length}: ${String(error)}`)
    if (!(error instanceof StatementUndone)) this.#throwAway()
    if (error instanceof NoAnswer) this.#batch_max = Math.max(1, Math.floor(batch.length / 2))
    const open = batch.filter((waiting) => !this.#askedAbout(waiting, error))
    await sleep(RETRY_PAUSE_MS)
    this.#queue.putBack(open.filter(({ given_up }) => !given_up))
    this.#keepLate(open.filter(({ given_up, name }) => given_up && this.#mustEnd(name)))
  }

  #throwAway(): void {
    this.#last_failed = true
    this.#connection?.discard()
    this.#connection = null
    this.#thrown_away_ms = [this.#thrown_away_ms[1], Date.now()]
  }

  /** Whether another call has it now: it may have been done, and would not be wanted again. */
  #askedAbout(waiting: Waiting, error: unknown): boolean {
    if (error instanceof StatementUndone || !(waiting.given_up || error instanceof NoAnswer)) return false
    const found = this.#options.onUnknown?.(waiting.name, waiting.item, !waiting.given_up)
    void found?.then(waiting.settle)
    return Boolean(found)
  }

  #mustEnd(name: string): boolean {
    return this.#options.mustEnd?.(name) ?? false
  }

  #keepLate(given_up: Waiting[]): void {
    const late = given_up.filter(({ asked_ms }) => Date.now() - asked_ms < LATE_MS_MAX)
    const room = Math.max(0, LATE_MAX - this.#late.length)
    this.#late.push(...late.slice(0, room))
    if (late.length > 0) this.#late_due_ms = Date.now() + RETRY_LATE_PAUSE_MS
    const left = given_up.length - Math.min(room, late.length)
    if (left > 0) console.error(`database: ${left} late items are left to their expiry`)
  }

  #refuse(waiting: Waiting, error: StatementRefused): void {
    const quotes_data = error.sqlstate.startsWith('22') || error.sqlstate.startsWith('23')
    console.error(`database: ${waiting.name} refused (${error.sqlstate})${quotes_data ? '' : `: ${error.message}`}`)
    waiting.settle({ decision: 'failed', sqlstate: error.sqlstate })
  }
}

function halves<T>(batch: T[]): [T[], T[]] {
  const middle = Math.ceil(batch.length / 2)
  return [batch.slice(0, middle), batch.slice(middle)]
}

async function sleep(ms: number): Promise<void> {
  if (ms > 0) await new Promise((resolve) => setTimeout(resolve, ms))
}
