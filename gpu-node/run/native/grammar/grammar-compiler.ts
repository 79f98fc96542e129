// Compiles constraints off the event loop, each within a deadline. All begin in a lane where each may take only a small share of what is
// allowed, which most stay below; those that need more go on in another, so that they hold up each other alone. In a lane the accounts
// take turns: one that sends a thousand delays another's by one. What takes too long, or too much memory, loses its thread and is refused.

import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import type { Constraint } from '../../../../contract/internal/generation.ts'
import { Refusal } from '../../../refusal.ts'
import type { Compilation, Compiled } from './compile-worker.ts'

const COMPILE_MS_MAX = 3000
const SHARES = [1 / 50, 1 / 5, 1] // of the budget, a lane each; about 15 ms, 150 ms, and a second
const QUEUE_MAX = 16 // of one account, in a lane
const QUEUES_MAX = 256
const MEMORY_MB_MAX = 384

/** A constraint, as it is written down: text crosses to a thread at once, which objects nested deeply do not. */
export interface WrittenConstraint {
  constraint: Constraint
  json: string
}

export class GrammarCompiler {
  readonly #lanes: readonly Lane[]

  constructor({ compile_ms_max = COMPILE_MS_MAX } = {}) {
    this.#lanes = SHARES.map((share) => new Lane(share, compile_ms_max))
  }

  /** The program of a constraint. Refuses one that cannot be held (`invalid_constraint`, `invalid_tools`). */
  async compile({ constraint, json }: WrittenConstraint, account: string): Promise<Int32Array> {
    let answer: Compiled = { refused: '', is_excess: true }
    for (const lane of this.#lanes) {
      answer = await lane.compile(json, account)
      if ('program' in answer) return answer.program
      if (!answer.is_excess) break
    }
    throw invalidConstraint(constraint, answer.refused)
  }

  async close(): Promise<void> {
    await Promise.all(this.#lanes.map((lane) => lane.close()))
  }
}

/** One thread, and who waits for it. */
class Lane {
  readonly #share: number
  readonly #compile_ms_max: number
  #worker: Worker | null = null
  readonly #waiting = new Map<string, (() => Promise<void>)[]>() // by account, whose turn is next first
  #last_account = '' // that had a turn
  #waiting_count = 0
  #is_running = false

  constructor(share: number, compile_ms_max: number) {
    this.#share = share
    this.#compile_ms_max = compile_ms_max
  }

  async compile(json: string, account: string): Promise<Compiled> {
    const own = this.#waiting.get(account) ?? []
    if (own.length >= QUEUE_MAX || this.#waiting_count >= QUEUES_MAX)
      throw new Refusal('overloaded', 'Too many response formats wait to be prepared.', { retry_after_s: 1 })
    const { promise, resolve, reject } = Promise.withResolvers<Compiled>()
    own.push(() => this.#ask({ json, share: this.#share }).then(resolve, reject))
    this.#waiting.set(account, own)
    this.#waiting_count++
    if (!this.#is_running) void this.#run()
    return promise
  }

  async #run(): Promise<void> {
    this.#is_running = true
    for (let next = this.#takeNext(); next !== null; next = this.#takeNext()) await next()
    this.#is_running = false
  }

  #takeNext(): (() => Promise<void>) | null {
    const had_turn = this.#waiting.get(this.#last_account)
    if (had_turn) this.#putLast(this.#last_account, had_turn) // it came again before the others came
    const first = this.#waiting.entries().next().value
    if (!first) return null
    const [account, [next, ...more]] = first
    this.#last_account = account
    this.#putLast(account, more)
    this.#waiting_count--
    return next!
  }

  #putLast(account: string, waiting: (() => Promise<void>)[]): void {
    this.#waiting.delete(account)
    if (waiting.length > 0) this.#waiting.set(account, waiting)
  }

  async close(): Promise<void> {
    await this.#worker?.terminate()
    this.#worker = null
  }

  async #ask(compilation: Compilation): Promise<Compiled> {
    const worker = await this.#running()
    return new Promise((resolve) => {
      const done = (compiled: Compiled) => {
        clearTimeout(deadline)
        worker.off('message', done).off('exit', failed)
        resolve(compiled)
      }
      const failed = () => {
        if (this.#worker === worker) this.#worker = null
        done({ refused: 'It is too large or too complex to be prepared.', is_excess: false })
      }
      const deadline = setTimeout(() => worker.terminate(), this.#compile_ms_max)
      worker.on('message', done).on('exit', failed)
      worker.postMessage(compilation)
    })
  }

  // It starts with the first that is asked for, says when it is ready, and does not keep the process.
  async #running(): Promise<Worker> {
    if (this.#worker) return this.#worker
    const worker = new Worker(new URL('./compile-worker.ts', import.meta.url), {
      resourceLimits: { maxOldGenerationSizeMb: MEMORY_MB_MAX },
    })
    worker.on('error', () => {}) // its exit follows
    await once(worker, 'message')
    worker.unref()
    this.#worker = worker
    return worker
  }
}

export function invalidConstraint({ kind }: Constraint, why: string): Refusal {
  if (kind === 'tools') return new Refusal('invalid_tools', why, { param: 'tools' })
  return new Refusal('invalid_constraint', why, { param: 'response_format' })
}
