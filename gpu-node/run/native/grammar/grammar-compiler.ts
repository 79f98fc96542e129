// Compiles constraints off the event loop: one at a time, each within a deadline, each once for as long as it is asked for. What takes
// too long, or too much memory, loses its thread and is refused; nobody else waits for more than that.

import { Worker } from 'node:worker_threads'
import type { Constraint } from '../../../../contract/internal/generation.ts'
import { Refusal } from '../../../refusal.ts'
import type { Compiled } from './compile-worker.ts'

const COMPILE_MS_MAX = 3000
const QUEUE_MAX = 64
const MEMORY_MB_MAX = 384

export class GrammarCompiler {
  readonly #compile_ms_max: number
  #worker: Worker | null = null
  #last: Promise<unknown> = Promise.resolve()
  #waiting = 0

  constructor({ compile_ms_max = COMPILE_MS_MAX } = {}) {
    this.#compile_ms_max = compile_ms_max
  }

  /** The program of a constraint. Refuses one that cannot be held (`invalid_constraint`, `invalid_tools`). */
  async compile(constraint: Constraint): Promise<Int32Array> {
    if (this.#waiting >= QUEUE_MAX)
      throw new Refusal('overloaded', 'Too many response formats wait to be prepared.', { retry_after_s: 1 })
    this.#waiting++
    const compiled = this.#last.then(() => this.#ask(constraint)).finally(() => this.#waiting--)
    this.#last = compiled.catch(() => {})
    const answer = await compiled
    if ('program' in answer) return answer.program
    throw invalidConstraint(constraint, answer.refused)
  }

  async close(): Promise<void> {
    await this.#worker?.terminate()
    this.#worker = null
  }

  #ask(constraint: Constraint): Promise<Compiled> {
    const worker = this.#running()
    return new Promise((resolve) => {
      const done = (compiled: Compiled) => {
        clearTimeout(deadline)
        worker.off('message', done).off('exit', failed)
        resolve(compiled)
      }
      const failed = () => {
        if (this.#worker === worker) this.#worker = null
        done({ refused: 'It is too large or too complex to be prepared.' })
      }
      const deadline = setTimeout(() => worker.terminate(), this.#compile_ms_max)
      worker.on('message', done).on('exit', failed)
      worker.postMessage(constraint)
    })
  }

  // It starts with the first that is asked for, and does not keep the process.
  #running(): Worker {
    if (this.#worker) return this.#worker
    const worker = new Worker(new URL('./compile-worker.ts', import.meta.url), {
      resourceLimits: { maxOldGenerationSizeMb: MEMORY_MB_MAX },
    })
    worker.on('error', () => {}) // its exit follows
    worker.unref()
    this.#worker = worker
    return worker
  }
}

export function invalidConstraint({ kind }: Constraint, why: string): Refusal {
  if (kind === 'tools') return new Refusal('invalid_tools', why, { param: 'tools' })
  return new Refusal('invalid_constraint', why, { param: 'response_format' })
}
