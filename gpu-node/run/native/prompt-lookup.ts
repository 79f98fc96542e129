// Guesses how a sequence goes on from what it already holds, prompt and output: after the same few tokens, the same again
// (prompt lookup). A guess changes no text, only how many tokens one step can confirm, so it may be wrong; how often it is
// is learned from every token drawn, drafted or not.

const NGRAM = 3 // tokens that must be the same before a copy is followed
const RESYNC_NGRAM = 2 // as few suffice near where the last copy went another way: an edit
const RESYNC_TOKENS = 24
const RATE = 1 / 8 // how fast the chances follow

// A copy that has held for long goes on holding: a chance for each so many tokens.
const STREAKS = [0, 2, 8]
const FIRST_CHANCES = [0.5, 0.8, 0.95]

export class PromptLookup {
  readonly #tokens: readonly number[] // grows
  readonly #chances = [...FIRST_CHANCES]
  #seen: number
  #source: number | null = null // where the token that comes next is expected to stand
  #lost = 0 // where the last copy went another way
  #streak = 0 // tokens that this copy was right about

  constructor(tokens: readonly number[]) {
    this.#tokens = tokens
    this.#seen = tokens.length
  }

  /**
   * What comes next: no more than `max` tokens, each likely enough behind those before it, of which so many are expected to
   * come true.
   */
  propose(max: number, chanceMin: (drafted: number, expected: number) => number): number[] {
    this.#followCopy()
    this.#source ??= this.#find()
    const draft: number[] = []
    if (this.#source === null) return draft
    let chance = 1
    let expected = 0
    while (draft.length < max) {
      chance *= this.#chances[streakClass(this.#streak + draft.length)]!
      if (chance < chanceMin(draft.length, expected)) break
      expected += chance
      const at = this.#source + draft.length // past the end, a copy goes on with its own beginning
      draft.push(at < this.#tokens.length ? this.#tokens[at]! : draft[at - this.#tokens.length]!)
    }
    return draft
  }

  #followCopy(): void {
    for (; this.#seen < this.#tokens.length; this.#seen++) {
      if (this.#source === null) continue
      const is_right = this.#tokens[this.#source] === this.#tokens[this.#seen]
      const streak_class = streakClass(this.#streak)
      this.#chances[streak_class]! += RATE * (Number(is_right) - this.#chances[streak_class]!)
      this.#streak = is_right ? this.#streak + 1 : 0
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

function streakClass(streak: number): number {
  return STREAKS.findLastIndex((from) => streak >= from)
}
