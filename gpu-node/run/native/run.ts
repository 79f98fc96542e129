// A request in our own engine: one sequence a choice, and the way from its tokens to text.

import type { Run, RunChoice, RunEvent, RunRequest } from '../runner.ts'
import { ChoiceText, type Delivery } from '../text/choice-text.ts'
import type { Spelled } from '../text/logprobs.ts'
import type { TokenLogprobs } from './sampling.ts'
import type { SequenceOutput } from './scheduler.ts'
import type { Sequence } from './sequence.ts'
import type { LoopChoice, StepLoop } from './step-loop.ts'
import type { Detokenizer } from './tokenizer/detokenizer.ts'

export interface NativeChoiceParts {
  sequence: Sequence
  detokenizer: Pick<Detokenizer, 'push' | 'end' | 'surface'>
  echo: string // what its text begins with
}

type TextRequest = Pick<RunRequest, 'stop' | 'include_stop' | 'min_tokens'>

export class NativeRun implements Run {
  readonly choices: readonly NativeChoice[]
  readonly #loop: StepLoop

  constructor(request: TextRequest, choices: NativeChoiceParts[], loop: StepLoop) {
    this.choices = choices.map((parts, index) => new NativeChoice({ ...parts, run: this, index, request }))
    this.#loop = loop
  }

  get prompt_tokens(): number {
    return sum(this.#leaders, ({ prompt_tokens }) => prompt_tokens)
  }

  get usage(): Run['usage'] {
    const begun = this.#leaders.filter(({ first_step_at_ms }) => first_step_at_ms !== null)
    return {
      prompt_tokens: sum(begun, ({ prompt_tokens }) => prompt_tokens),
      cached_tokens: sum(begun, ({ cached_tokens }) => cached_tokens ?? 0),
    }
  }

  get prediction(): NonNullable<Run['prediction']> | null {
    const predictions = this.choices.flatMap(({ sequence: { prediction } }) => prediction ?? [])
    if (predictions.length === 0) return null
    return {
      accepted_tokens: sum(predictions, ({ accepted }) => accepted),
      rejected_tokens: sum(predictions, ({ rejected }) => rejected),
    }
  }

  start(): void {
    this.#loop.start(this.choices)
  }

  stop(): RunEvent[] {
    const open = this.choices.filter(({ is_over }) => !is_over)
    this.#loop.stop(open)
    return open.map((choice) => choice.cut())
  }

  setPaused(paused: boolean): void {
    for (const { sequence } of this.choices) sequence.paused = paused
    if (!paused) this.#loop.kick()
  }

  // Each prompt once: the sequence that computes it for all choices over it.
  get #leaders(): Sequence[] {
    return this.choices.map(({ sequence }) => sequence).filter(({ leader }) => leader === null)
  }
}

class NativeChoice implements RunChoice, LoopChoice {
  readonly sequence: Sequence
  readonly #run: NativeRun
  readonly #index: number
  readonly #detokenizer: NativeChoiceParts['detokenizer']
  readonly #text: ChoiceText
  readonly #include_stop: boolean
  is_over = false

  constructor(parts: NativeChoiceParts & { run: NativeRun; index: number; request: TextRequest }) {
    this.sequence = parts.sequence
    this.#run = parts.run
    this.#index = parts.index
    this.#detokenizer = parts.detokenizer
    this.#text = new ChoiceText(parts.request, parts.echo)
    this.#include_stop = parts.request.include_stop
  }

  get prompt_tokens(): number {
    return this.sequence.prompt_tokens
  }

  get output_tokens_max(): number {
    return this.sequence.output_tokens_max
  }

  get begun_at_ms(): number | null {
    return this.sequence.first_step_at_ms
  }

  get output_tokens(): number {
    return this.#text.tokens
  }

  take({ token, finish, logprobs }: SequenceOutput): RunEvent {
    const has_text = this.#include_stop || !this.sequence.stop_ids.has(token) // else it only says that the sequence ends
    const spelled = has_text && logprobs ? this.#spell(token, logprobs) : null
    const text = has_text ? this.#detokenizer.push(token) : ''
    const end = finish === null ? null : { finish, rest: this.#detokenizer.end() }
    return this.#event(1, this.#text.take(text, spelled, end))
  }

  /** Ends it with what it still holds. */
  cut(): RunEvent {
    return this.#event(0, this.#text.cut(this.#detokenizer.end()))
  }

  #event(tokens: number, { text, logprobs, finish, stop }: Delivery): RunEvent {
    this.is_over = finish !== null
    return { run: this.#run, choice: this.#index, text, tokens, logprobs, finish, stop }
  }

  // The drawn token and its alternatives, as they would be spelled here: it is pushed after this.
  #spell(token: number, { logprob, top }: TokenLogprobs): Spelled {
    return {
      ...this.#detokenizer.surface(token),
      logprob,
      top: top.map((other) => ({ ...this.#detokenizer.surface(other.id), logprob: other.logprob })),
    }
  }
}

function sum<T>(items: readonly T[], of: (item: T) => number): number {
  return items.reduce((total, item) => total + of(item), 0)
}
