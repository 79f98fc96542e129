// What a step takes, learned from the steps themselves: so long for any step at all, and so long more for each token. It decides
// how much of a prompt goes beside running streams and whether a draft pays; never what a sequence's text is.

export interface StepCost {
  step_ms: number
  token_ms: number
}

const RATE = 0.5 // of what a step was off by, that the next estimate takes over
const SCALE_TOKENS = 8 // steps smaller than this tell of step_ms, larger ones of token_ms
const STALL = 2 // what takes longer than so many times the estimate says nothing of the model

/** Normalised least mean squares: it follows growing contexts, and forgets nothing where every step has one size. */
export class StepCostEstimate {
  #cost: StepCost | null = null

  /** Null until a step was measured; from the first alone it seems that tokens are all that costs, which is the careful guess. */
  get cost(): StepCost | null {
    return this.#cost
  }

  observe(tokens: number, ms: number): void {
    const { step_ms, token_ms } = this.#cost ?? { step_ms: 0, token_ms: ms / tokens }
    const expected_ms = step_ms + tokens * token_ms
    const size = tokens / SCALE_TOKENS
    const correction = (RATE * (Math.min(ms, STALL * expected_ms) - expected_ms)) / (1 + size * size)
    this.#cost = {
      step_ms: Math.max(step_ms + correction, 0),
      token_ms: Math.max(token_ms + (correction * size) / SCALE_TOKENS, 0),
    }
  }
}

/** Tokens of prompts that a step of so many streams' tokens takes along, at twice its time: streams and prompts share evenly. */
export function promptTokensBeside(decode_tokens: number, { step_ms, token_ms }: StepCost): number {
  if (token_ms === 0) return Number.POSITIVE_INFINITY
  return Math.max(Math.floor((step_ms + decode_tokens * token_ms) / token_ms), 1)
}

/**
 * How likely one more token must be to come true, so that computing it pays in a step of so many, of which so many are
 * expected to.
 */
export function worthwhileChance(tokens: number, expected: number, { step_ms, token_ms }: StepCost): number {
  return token_ms === 0 ? 0 : (expected * token_ms) / (step_ms + tokens * token_ms)
}
