// What one choice took. The engine's own count is believed where it can be true; what it does not say is counted from what came, and what
// cannot be counted is taken for as little as it may be. Nothing is ever counted above what was paid for.

import * as z from 'zod'
import type { UsageSource } from '../../../contract/internal/sync.ts'
import { type Prompt, TOKEN_BYTES_MAX } from './prompt.ts'

/** What is known of how an engine streams. */
export interface Habit {
  /** Whether each piece of text is a token at least: seen in answers that it counted at their end; null before the first. */
  pieces_are_tokens: boolean | null
}

export interface MeterOptions {
  prompt: Prompt
  output_tokens_max: number
  /** Of a text; null where the node does not have the model's tokenizer. */
  count: ((text: string) => number) | null
}

const tokens = z.int().nonnegative()
const usage = z.looseObject({
  prompt_tokens: tokens.nullish().catch(null),
  completion_tokens: tokens.nullish().catch(null),
  prompt_tokens_details: z.looseObject({ cached_tokens: tokens.nullish() }).nullish().catch(null),
})

export class ChoiceMeter {
  readonly #options: MeterOptions
  readonly #prompt: { tokens: number | null; cached: number } = { tokens: null, cached: 0 }
  #told: number | null = null // of the answer, as last said
  #is_told_all_along = false
  #has_text = false
  #pieces = 0
  // Since it was last said:
  #text = ''
  #bytes = 0
  #untold_pieces = 0
  #listed = 0
  #is_listed = true

  constructor(options: MeterOptions) {
    this.#options = options
  }

  /** A piece of the answer; `listed` is how many tokens it says that it is, where it does. */
  take(text: string, listed: number | null): void {
    if (listed !== null) this.#listed += listed
    if (text === '') return
    if (listed === null) this.#is_listed = false
    this.#has_text = true
    this.#pieces++
    this.#untold_pieces++
    this.#bytes += Buffer.byteLength(text)
    if (this.#options.count) this.#text += text
  }

  /** What a chunk says of all so far. What cannot be true is not heard. */
  hear(said: unknown): void {
    const { prompt_tokens, completion_tokens, prompt_tokens_details } = usage.safeParse(said).data ?? {}
    const { prompt, output_tokens_max } = this.#options
    if (prompt_tokens && prompt_tokens <= prompt.tokens_max) {
      const cached = prompt_tokens_details?.cached_tokens ?? this.#prompt.cached
      this.#prompt.tokens = prompt_tokens
      this.#prompt.cached = cached <= prompt_tokens ? cached : 0
    }
    const is_possible = completion_tokens != null && completion_tokens <= output_tokens_max
    if (!is_possible || (completion_tokens === 0 && this.#has_text)) return
    if (completion_tokens === 0 && !prompt_tokens) return // all zero: it says nothing
    this.#is_told_all_along ||= this.#told !== null
    this.#told = completion_tokens
    this.#forgetText()
  }

  get prompt_tokens(): number {
    const { prompt } = this.#options
    return this.#prompt.tokens ?? (prompt.is_counted ? prompt.tokens_max : atLeast(Math.max(1, prompt.bytes)))
  }

  get cached_tokens(): number {
    return this.#prompt.cached
  }

  /** So far, as far as that can be known at each moment. */
  completionTokens(habit: Habit): number {
    return Math.min(this.#options.output_tokens_max, (this.#told ?? 0) + this.#untold(habit))
  }

  /** Nothing follows: what the engine did not say is counted as well as it can be. */
  close(habit: Habit): void {
    this.#learn(habit)
    const { count } = this.#options
    if (!count || this.#isCounted(habit)) return
    this.#listed = count(this.#text)
    this.#is_listed = true
  }

  /** Whether it has all that it may have, for sure. A last piece of text may come behind its count. */
  get is_full(): boolean {
    return (this.#told ?? 0) + atLeast(this.#bytes) - 1 >= this.#options.output_tokens_max
  }

  /** Whose count it is. */
  source(habit: Habit): UsageSource {
    const { prompt } = this.#options
    const is_prompt_known = this.#prompt.tokens !== null || prompt.is_counted
    if (!is_prompt_known || !this.#isCounted(habit)) return 'bounded'
    return this.#prompt.tokens !== null && this.#isTold() ? 'upstream' : 'counted'
  }

  // Said once, at the end: then it was seen how many pieces that was.
  #learn(habit: Habit): void {
    if (this.#told === null || this.#is_told_all_along || this.#bytes > 0 || this.#pieces === 0) return
    habit.pieces_are_tokens = habit.pieces_are_tokens !== false && this.#pieces <= this.#told
  }

  #isCounted(habit: Habit): boolean {
    return this.#isTold() || this.#bytes === 0 || this.#is_listed || habit.pieces_are_tokens === true
  }

  /** Whether the engine's count is of all of it: behind the most that there may be nothing counts. */
  #isTold(): boolean {
    return this.#told !== null && (this.#bytes === 0 || this.#told >= this.#options.output_tokens_max)
  }

  #untold(habit: Habit): number {
    if (this.#is_listed && this.#listed > 0) return this.#listed
    return habit.pieces_are_tokens ? Math.min(this.#untold_pieces, this.#bytes) : atLeast(this.#bytes)
  }

  #forgetText(): void {
    this.#text = ''
    this.#bytes = 0
    this.#untold_pieces = 0
    this.#listed = 0
    this.#is_listed = true
  }
}

function atLeast(bytes: number): number {
  return Math.ceil(bytes / TOKEN_BYTES_MAX)
}
