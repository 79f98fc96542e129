// Keeps each token's log-probabilities until its text is delivered, so that a stream shows no token of a text that a stop
// string may yet cut away, and streamed and whole answers list the same tokens.

import type { TokenLogprob } from '../runner.ts'

/** The text that a token completes, in order: of what is before it and that it left unfinished, and its own. */
export interface Completed {
  unfinished: string // U+FFFD, or nothing
  text: string // empty within a code point
}

/** A token and its alternatives, spelled; where it stands in the text follows from what came before. */
export type Spelled = Omit<TokenLogprob, 'offset'>

interface Waiting extends TokenLogprob {
  start: number // of its text, in UTF-16 units, as `end`
  end: number
}

export class LogprobQueue {
  #waiting: Waiting[] = []
  #length = 0 // of the text so far, in UTF-16 units
  #code_points = 0
  #delivered = 0

  /** Takes one token and the text it completed, which is empty inside a code point. Its own begins behind what it left unfinished. */
  push({ unfinished, text }: Completed, spelled: Spelled): void {
    this.#pass(unfinished)
    const start = this.#length
    const offset = this.#code_points
    this.#pass(text)
    this.#waiting.push({ ...spelled, offset, start, end: this.#length })
  }

  #pass(text: string): void {
    this.#length += text.length
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
