// Compiles constraints off the event loop, each within a deadline. All begin in a queue where each may take only a small share of what is
// allowed, which most stay below; those that need more go on in another, so that they hold up each other alone. What takes too
// long, or too much memory, loses its thread and is refused.

import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import type { Constraint } from '../../../../contract/internal/generation.ts'
import { Refusal } from '../../../refusal.ts'
import type { Compilation, Compiled } from './compile-worker.ts'

const COMPILE_MS_MAX = 3000
const SMALL_SHARE = 1 / 20
const QUEUE_MAX = 64
const MEMORY_MB_MAX = 384

export class GrammarCompiler {
  readonly #small: Lane
  readonly #large: Lane

  constructor({ compile_ms_max = COMPILE_MS_MAX } = {}) {
    this.#small = new Lane(compile_ms_max)
    this.#large = new Lane(compile_ms_max)
  }

  /** The program of a constraint. Refuses one that cannot be held (`invalid_constraint`, `invalid_tools`). */
  async compile(constraint: Constraint): Promise<Int32Array> {
    let answer = await this.#small.compile({ constraint, share: SMALL_SHARE })
    if ('refused' in answer && answer.is_excess) answer = await this.#large.compile({ constraint, share: 1 })
    if ('program' in answer) return answer.program
    throw invalidConstraint(constraint, answer.refused)
  }

  async close(): Promise<void> {
    await Promise.all([this.#small.close(), this.#large.close()])
  }
}

/** One thread, and who waits for it. */
class Lane {
  readonly #compile_ms_max: number
  #worker: Worker | null = null
  #last: Promise<unknown> = Promise.resolve()
  #waiting = 0

  constructor(compile_ms_max: number) {
    this.#compile_ms_max = compile_ms_max
  }

  async compile(compilation: Compilation): Promise<Compiled> {
    if (this.#waiting >= QUEUE_MAX)
      throw new Refusal('overloaded', 'Too many response formats wait to be prepared.', { retry_after_s: 1 })
    this.#waiting++
    const compiled = this.#last.then(() => this.#ask(compilation)).finally(() => this.#waiting--)
    this.#last = compiled.catch(() => {})
    return compiled
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
