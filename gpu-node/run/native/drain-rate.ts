// How fast this node works off what waits, as measured, for whoever is told to come back later.

import type { Sequence } from './sequence.ts'

const RATE_MEMORY_S = 10 // of busy time; older steps count less and less
const OUTPUT_MEMORY = 1 / 16 // weight of the newest answer's length
const RETRY_S_MAX = 60

type Waiting = Pick<Sequence, 'remaining' | 'output_tokens' | 'output_tokens_max'>

export class DrainRate {
  #tokens = 0 // computed lately, and the seconds it took
  #seconds = 0
  #output_tokens: number | null = null // of an answer, lately

  step(tokens: number, seconds: number): void {
    const kept = Math.exp(-seconds / RATE_MEMORY_S)
    this.#tokens = this.#tokens * kept + tokens
    this.#seconds = this.#seconds * kept + seconds
  }

  ended(output_tokens: number): void {
    this.#output_tokens ??= output_tokens
    this.#output_tokens += (output_tokens - this.#output_tokens) * OUTPUT_MEMORY
  }

  /** Whole seconds, 1 to 60, after which what waits now is likely to be done. */
  secondsFor(waiting: Iterable<Waiting>): number {
    let tokens = 0
    for (const sequence of waiting) tokens += sequence.remaining + this.#outputTokensLeft(sequence)
    if (this.#tokens === 0) return 1
    return Math.min(RETRY_S_MAX, Math.max(1, Math.ceil((tokens * this.#seconds) / this.#tokens)))
  }

  // What it may have at most says little: most answers end long before.
  #outputTokensLeft({ output_tokens, output_tokens_max }: Waiting): number {
    const expected = Math.min(output_tokens_max, this.#output_tokens ?? output_tokens_max)
    return Math.max(0, expected - output_tokens)
  }
}
