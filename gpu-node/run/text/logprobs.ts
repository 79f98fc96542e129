// Keeps each token's log-probabilities until its text is delivered, so that a stream shows no token of a text that a stop
// string may yet cut away, and streamed and whole answers list the same tokens.

import type { TokenLogprob } from '../../answer/answer.ts'
import type { TokenLogprobs } from '../native/sampling.ts'
import type { Detokenizer } from '../native/tokenizer/detokenizer.ts'

type Surfaces = Omit<TokenLogprob, 'offset'>

/** A drawn token and its alternatives, spelled as they would be here. Called before the token is pushed. */
export function surfacesOf(detokenizer: Detokenizer, token: number, { logprob, top }: TokenLogprobs): Surfaces {
  return {
    ...detokenizer.surface(token),
    logprob,
    top: top.map((other) => ({ ...detokenizer.surface(other.id), logprob: other.logprob })),
  }
}

interface Waiting extends TokenLogprob {
  end: number // of its text, in UTF-16 units, as `start`
  start: number
}

export class LogprobQueue {
  #waiting: Waiting[] = []
  #length = 0 // of the text so far, in UTF-16 units
  #code_points = 0
  #delivered = 0

  /** Takes one token and the text it completed, which is empty inside a code point. */
  push(text: string, surfaces: Surfaces): void {
    const start = this.#length
    this.#length += text.length
    this.#waiting.push({ ...surfaces, offset: this.#code_points, start, end: this.#length })
    this.#code_points += [...text].length
  }

  /** The tokens whose text is out with `text`. Where a stop cut one in two, it counts as delivered. */
  release(text: string, { ends, stopped }: { ends: boolean; stopped: boolean }): TokenLogprob[] {
    this.#delivered += text.length
    const isOut = ({ start, end }: Waiting) => {
      if (ends) return !stopped || start < this.#delivered
      return end <= this.#delivered && (end > start || end < this.#delivered)
    }
    const waits = this.#waiting.findIndex((waiting) => !isOut(waiting))
    const count = waits < 0 ? this.#waiting.length : waits
    return this.#waiting.splice(0, count).map(({ start, end, ...token }) => token)
  }
}
