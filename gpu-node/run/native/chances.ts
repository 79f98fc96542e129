// How likely the next tokens of a copy are to come true, learned from those before: a copy that has held for long goes on holding.

const RATE = 1 / 8 // how fast the chances follow
const STREAKS = [0, 2, 8] // a chance for each so many tokens
const FIRST_CHANCES = [0.5, 0.8, 0.95]

export class Chances {
  readonly #chances = [...FIRST_CHANCES]
  #streak: number // tokens that this copy was right about

  /** `streak`: as how many right tokens the copy is trusted at its beginning. */
  constructor(streak = 0) {
    this.#streak = streak
  }

  note(is_right: boolean): void {
    const streak_class = streakClass(this.#streak)
    this.#chances[streak_class]! += RATE * (Number(is_right) - this.#chances[streak_class]!)
    this.#streak = is_right ? this.#streak + 1 : 0
  }

  /** Of the token so many behind the next one, if those before it come true. */
  of(ahead: number): number {
    return this.#chances[streakClass(this.#streak + ahead)]!
  }
}

function streakClass(streak: number): number {
  return STREAKS.findLastIndex((from) => streak >= from)
}

/**
 * The longest beginning of what `at` names that is likely enough: no more than `max` tokens, each likely enough behind those before it,
 * of which so many are expected to come true.
 */
export function likely(
  at: (ahead: number, draft: readonly number[]) => number | undefined,
  chances: Chances,
  { max, chanceMin }: { max: number; chanceMin: (drafted: number, expected: number) => number },
): number[] {
  const draft: number[] = []
  let chance = 1
  let expected = 0
  while (draft.length < max) {
    const token = at(draft.length, draft)
    chance *= chances.of(draft.length)
    if (token === undefined || chance < chanceMin(draft.length, expected)) break
    expected += chance
    draft.push(token)
  }
  return draft
}
