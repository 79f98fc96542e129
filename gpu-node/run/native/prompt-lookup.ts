// Guesses how a sequence goes on from what it already holds, prompt and output: after the same few tokens, the same again
// (prompt lookup). A guess changes no text, only how many tokens one step can confirm, so it may be wrong; how often it is
// is learned from every token drawn, drafted or not.

import { Chances, likely } from './chances.ts'

const NGRAM = 3 // tokens that must be the same before a copy is followed
const RESYNC_NGRAM = 2 // as few suffice near where the last copy went another way: an edit
const RESYNC_TOKENS = 24

export class PromptLookup {
  readonly #tokens: readonly number[] // grows
  readonly #chances = new Chances()
  #seen: number
  #source: number | null = null // where the token that comes next is expected to stand
  #lost = 0 // where the last copy went another way

  constructor(tokens: readonly number[]) {
    this.#tokens = tokens
    this.#seen = tokens.length
  }

  /** What comes next, as `likely` has it. */
  propose(max: number, chanceMin: (drafted: number, expected: number) => number): number[] {
    this.#followCopy()
    this.#source ??= this.#find()
    const source = this.#source
    if (source === null) return []
    // Past the end, a copy goes on with its own beginning.
    const at = (ahead: number, draft: readonly number[]) =>
      this.#tokens[source + ahead] ?? draft[source + ahead - this.#tokens.length]
    return likely(at, this.#chances, { max, chanceMin })
  }

  #followCopy(): void {
    for (; this.#seen < this.#tokens.length; this.#seen++) {
      if (this.#source === null) continue
      const is_right = this.#tokens[this.#source] === this.#tokens[this.#seen]
      this.#chances.note(is_right)
      if (!is_right) this.#lost = this.#source
      this.#source = is_right ? this.#source + 1 : null
    }
  }

  // It is looked for near the place where the last copy was lost, going on from there; else where the last tokens stood most recently.
  #find(): number | null {
    const end = this.#tokens.length
    for (let at = this.#lost + 1; at <= Math.min(this.#lost + RESYNC_TOKENS, end - 1); at++) {
      if (this.#lost > 0 && this.#sameBefore(at, RESYNC_NGRAM)) return at
    }
    const last = this.#tokens[end - 1]!
    for (let at = end - 2; at >= NGRAM - 1; at--) {
      at = this.#tokens.lastIndexOf(last, at)
      if (at < NGRAM - 1) return null
      if (this.#sameBefore(at + 1, NGRAM)) return at + 1
    }
    return null
  }

  /** Whether the tokens before `at` are the last ones. */
  #sameBefore(at: number, count: number): boolean {
    const end = this.#tokens.length
    for (let i = 1; i <= count; i++) if (this.#tokens[at - i] !== this.#tokens[end - i]) return false
    return true
  }
}
