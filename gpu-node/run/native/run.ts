// A request in our own engine: one sequence a choice, and the way from its tokens to text.

import type { Run, RunChoice, RunEvent, RunRequest, TokenLogprob } from '../runner.ts'
import { ChoiceText, type Delivery } from '../text/choice-text.ts'
import { type EchoedPrompt, EchoReader } from './echoed-prompt.ts'
import type { DrawnOutput, PromptOutput } from './scheduler.ts'
import type { Sequence } from './sequence.ts'
import { spelling } from './spelling.ts'
import type { LoopChoice, StepLoop } from './step-loop.ts'
import type { Detokenizer } from './tokenizer/detokenizer.ts'

export interface NativeChoiceParts {
  sequence: Sequence
  detokenizer: Pick<Detokenizer, 'take' | 'end' | 'surface'>
  echo: string // what its text begins with
  /** In its place, the prompt as it is scored; all choices over it have one. */
  scored_echo?: EchoedPrompt | null
}

type TextRequest = Pick<RunRequest, 'stop' | 'include_stop' | 'min_tokens' | 'return_token_ids'>

const NOTHING = { unfinished: '', text: '' }

export class NativeRun implements Run {
  readonly choices: readonly NativeChoice[]
  readonly prompt_token_ids?: readonly (readonly number[])[]
  readonly fingerprint: string | null
  readonly #loop: StepLoop

  constructor(request: TextRequest, choices: NativeChoiceParts[], loop: StepLoop, fingerprint: string | null = null) {
    this.fingerprint = fingerprint
    this.choices = choices.map((parts, index) => new NativeChoice({ ...parts, run: this, index, request }))
    this.#loop = loop
    if (request.return_token_ids) this.prompt_token_ids = this.#leaders.map((sequence) => sequence.prompt)
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
  readonly run: NativeRun
  readonly #index: number
  readonly #detokenizer: NativeChoiceParts['detokenizer']
  readonly #text: ChoiceText
  readonly #echo: EchoReader | null
  readonly #include_stop: boolean
  readonly #has_token_ids: boolean
  is_over = false

  constructor(parts: NativeChoiceParts & { run: NativeRun; index: number; request: TextRequest }) {
    this.sequence = parts.sequence
    this.run = parts.run
    this.#index = parts.index
    this.#detokenizer = parts.detokenizer
    this.#text = new ChoiceText(parts.request, parts.echo)
    this.#echo = parts.scored_echo ? new EchoReader(parts.scored_echo) : null
    this.#include_stop = parts.request.include_stop
    this.#has_token_ids = parts.request.return_token_ids ?? false
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

  take(output: DrawnOutput | PromptOutput): Iterable<RunEvent> {
    if ('scores' in output) return this.#takePrompt(output)
    return this.#echo && !this.#echo.is_over ? this.#echoBefore(output) : [this.#drawn(output)]
  }

  /** Ends it with what it still holds. */
  cut(): RunEvent {
    const echo = this.#text.echo(this.#echo?.rest() ?? [])
    const end = this.#text.cut(this.#detokenizer.end())
    return this.#event(0, { ...end, text: echo.text + end.text, logprobs: [...echo.logprobs, ...end.logprobs] })
  }

  #drawn({ token, finish, logprobs }: DrawnOutput): RunEvent {
    const has_text = this.#include_stop || !this.sequence.stop_ids.has(token) // else it only says that the sequence ends
    const spelled = has_text && logprobs ? spelling(this.#detokenizer, token, logprobs) : null
    const completed = has_text ? this.#detokenizer.take(token) : NOTHING
    const end = finish === null ? null : { finish, rest: this.#detokenizer.end() }
    const event = this.#event(1, this.#text.take(completed, spelled, end))
    return this.#has_token_ids ? { ...event, token_ids: [token] } : event
  }

  // What one sequence scores, all choices over its prompt begin with.
  *#takePrompt({ scores, finish }: PromptOutput): Generator<RunEvent> {
    const prompt = this.#echo?.prompt
    prompt?.score(scores)
    for (const choice of this.run.choices) if (prompt && choice.#echo?.prompt === prompt) yield* choice.#echoed()
    if (finish === null) return
    const end = this.cut()
    yield this.sequence.is_judged ? { ...end, text: '', logprobs: scores.map(valueAsLogprob) } : end
  }

  *#echoBefore(output: DrawnOutput): Generator<RunEvent> {
    yield* this.#echoed()
    yield this.#drawn(output)
  }

  *#echoed(): Generator<RunEvent> {
    for (let tokens = this.#echo!.next(); tokens !== null; tokens = this.#echo!.next())
      yield this.#event(0, this.#text.echo(tokens))
  }

  #event(tokens: number, { text, logprobs, finish, stop }: Delivery): RunEvent {
    this.is_over = finish !== null
    return { run: this.run, choice: this.#index, text, tokens, logprobs, finish, stop }
  }
}

/** The value of an answer stands in the place of a log-probability. */
function valueAsLogprob({ logprob }: PromptOutput['scores'][number]): TokenLogprob {
  return { text: '', bytes: null, logprob, top: [], offset: 0 }
}

function sum<T>(items: readonly T[], of: (item: T) => number): number {
  return items.reduce((total, item) => total + of(item), 0)
}
