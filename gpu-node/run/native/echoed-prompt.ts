// A prompt that is given back with its log-probabilities. They come as it is computed, piece by piece; all choices over the prompt
// read the same tokens, each at its own pace.

import type { EchoedToken } from '../text/choice-text.ts'
import type { TokenLogprobs } from './sampling.ts'
import { spelling } from './spelling.ts'
import { Detokenizer } from './tokenizer/detokenizer.ts'
import type { Tokenizer } from './tokenizer/tokenizer.ts'

/** Nothing comes before the first token, so nothing says how likely it is. */
const NO_SCORE = { logprob: null, top: [] }

export class EchoedPrompt {
  readonly #prompt: readonly number[]
  readonly #detokenizer: Detokenizer
  readonly #tokens: EchoedToken[] = []

  constructor(tokenizer: Tokenizer, prompt: readonly number[]) {
    this.#prompt = prompt
    this.#detokenizer = new Detokenizer(tokenizer)
    this.#add(NO_SCORE)
  }

  /** All that it has. */
  get tokens(): number {
    return this.#prompt.length
  }

  get is_whole(): boolean {
    return this.#tokens.length === this.#prompt.length
  }

  /** Takes the scores of the next tokens. */
  score(scores: readonly TokenLogprobs[]): void {
    for (const score of scores) this.#add(score)
  }

  /** Those that are known by now. */
  slice(from: number, to?: number): EchoedToken[] {
    return this.#tokens.slice(from, to)
  }

  #add(score: TokenLogprobs | typeof NO_SCORE): void {
    const token = this.#prompt[this.#tokens.length]!
    const spelled = spelling(this.#detokenizer, token, score)
    this.#tokens.push({ completed: this.#detokenizer.take(token), spelled })
  }
}

// So many are written between two turns of the event loop; and always so many, so that a stream's pieces do not tell in which steps its
// prompt was computed.
const READ_AT_ONCE = 64

export class EchoReader {
  readonly prompt: EchoedPrompt
  #read = 0

  constructor(prompt: EchoedPrompt) {
    this.prompt = prompt
  }

  get is_over(): boolean {
    return this.#read === this.prompt.tokens
  }

  /** The next tokens, or null where they are too few yet. */
  next(): EchoedToken[] | null {
    const tokens = this.prompt.slice(this.#read, this.#read + READ_AT_ONCE)
    if (tokens.length === 0 || (tokens.length < READ_AT_ONCE && !this.prompt.is_whole)) return null
    this.#read += tokens.length
    return tokens
  }

  /** All that are known and were not read. */
  rest(): EchoedToken[] {
    const tokens = this.prompt.slice(this.#read)
    this.#read += tokens.length
    return tokens
  }
}
