// Follows an answer through what its caller predicts of it (Predicted Outputs), and guesses with it how the answer goes on. Which of the
// predicted tokens came true is counted from the answer's tokens alone, so it is the same however they were drawn.

import { Chances, likely } from './chances.ts'

const RESYNC_NGRAM = 2 // tokens that suffice to find the way back near where it was lost: an edit
const RESYNC_TOKENS = 48
const NGRAM = 3 // elsewhere more must be the same
const TRUST = 2 // whoever predicts knows something: a first token is as likely as behind two right ones

export class Prediction {
  readonly #predicted: readonly number[]
  readonly #tokens: readonly number[] // of prompt and answer; it grows
  readonly #start: number // of the answer
  readonly #chances = new Chances(TRUST)
  #seen: number
  #at: number | null = 0 // where in the prediction the next token is expected
  #lost = 0 // where the answer last went another way
  #accepted = 0

  constructor(predicted: readonly number[], tokens: readonly number[]) {
    this.#predicted = predicted
    this.#tokens = tokens
    this.#start = tokens.length
    this.#seen = tokens.length
  }

  /** Tokens of the answer that were where the prediction had them. */
  get accepted(): number {
    this.#follow()
    return this.#accepted
  }

  /** Predicted tokens that the answer does not have. */
  get rejected(): number {
    return Math.max(0, this.#predicted.length - this.accepted)
  }

  /** What comes next, as `likely` has it. */
  propose(max: number, chanceMin: (drafted: number, expected: number) => number): number[] {
    this.#follow()
    const at = this.#at ?? this.#find(this.#seen)
    return at === null ? [] : likely((ahead) => this.#predicted[at + ahead], this.#chances, { max, chanceMin })
  }

  #follow(): void {
    for (; this.#seen < this.#tokens.length; this.#seen++) {
      this.#at ??= this.#find(this.#seen)
      if (this.#at === null) continue
      const is_right = this.#predicted[this.#at] === this.#tokens[this.#seen]
      this.#chances.note(is_right)
      if (is_right) this.#accepted++
      else this.#lost = this.#at
      this.#at = is_right && this.#at + 1 < this.#predicted.length ? this.#at + 1 : null
    }
  }

  /** Where the token at `end` is expected: behind what stands before it, near where the way was lost, or else anywhere. */
  #find(end: number): number | null {
    const last = Math.min(this.#lost + RESYNC_TOKENS, this.#predicted.length - 1)
    for (let at = Math.max(this.#lost, RESYNC_NGRAM); at <= last; at++)
      if (this.#sameBefore(at, end, RESYNC_NGRAM)) return at
    for (let at = NGRAM - 1; at < this.#predicted.length - 1; at++) {
      at = this.#predicted.indexOf(this.#tokens[end - 1]!, at)
      if (at < 0 || at >= this.#predicted.length - 1) return null
      if (this.#sameBefore(at + 1, end, NGRAM)) return at + 1
    }
    return null
  }

  /** Whether the tokens of the answer before `end` are those of the prediction before `at`. */
  #sameBefore(at: number, end: number, count: number): boolean {
    if (end - this.#start < count) return false
    for (let i = 1; i <= count; i++) if (this.#predicted[at - i] !== this.#tokens[end - i]) return false
    return true
  }
}
