// One accepted request while it runs: its choices, what it has counted so far, and the answer that grows from it.
// Knows text and counts; the step loop decides when, the journal and the client say where.

import type { FinishReason, GenerateRequest, Outcome } from '../../contract/internal/generation.ts'
import type { UsageRecord } from '../../contract/internal/sync.ts'
import { usageOf } from '../../contract/public/openai.ts'
import type { StepCounts } from '../meter/journal.ts'
import type { SequenceOutput } from '../run/native/scheduler.ts'
import type { Sequence } from '../run/native/sequence.ts'
import type { Detokenizer } from '../run/native/tokenizer/detokenizer.ts'
import { LogprobQueue, surfacesOf } from '../run/text/logprobs.ts'
import { StopMatcher, type StopResult } from '../run/text/stop.ts'
import { type Answer, answerTo } from './answer.ts'

export interface GenerationOptions {
  ticket: string // as it came
  attempt: number
  request: GenerateRequest
  choices: { sequence: Sequence; detokenizer: Detokenizer; echo: string }[]
}

export interface Choice {
  index: number
  sequence: Sequence
  detokenizer: Detokenizer
  stops: StopMatcher
  echo: string // the prompt's text, until it is given with the first token
  output_tokens: number
  logprobs: LogprobQueue
  finish_reason: FinishReason | null
  // When, on the monotonic clock, for the metrics.
  readonly arrived_at_ms: number
  first_token_at_ms: number | null
  last_token_at_ms: number | null
}

/** How it ends where it does not end by itself. */
export type EarlyEnd = 'client_gone' | 'deadline' | 'revoked' | 'error'

export class Generation {
  readonly choices: readonly Choice[]
  readonly answer: Answer
  readonly #options: GenerationOptions
  readonly #started = performance.now()
  readonly #started_unix_ms = Date.now()
  #completion_tokens = 0
  #delivered_tokens = 0
  #first_token_ms: number | null = null
  #outcome: Outcome | null = null

  constructor(options: GenerationOptions) {
    this.#options = options
    this.answer = answerTo(options.request)
    this.choices = options.choices.map((choice, index) => ({
      ...choice,
      index,
      stops: new StopMatcher(options.request.stop, options.request.include_stop),
      output_tokens: 0,
      logprobs: new LogprobQueue(),
      finish_reason: null,
      arrived_at_ms: this.#started,
      first_token_at_ms: null,
      last_token_at_ms: null,
    }))
  }

  get outcome(): Outcome | null {
    return this.#outcome
  }

  /** Choices a prompt. */
  get n(): number {
    return this.#options.request.n
  }

  /** Counts one token of a choice and turns it into text. */
  take(choice: Choice, { token, finish, logprobs }: Omit<SequenceOutput, 'sequence'>): void {
    const { include_stop } = this.#options.request
    this.#completion_tokens++
    choice.output_tokens++
    this.#first_token_ms ??= this.#elapsed()
    const has_text = finish !== 'stop' || include_stop // else it only says that the sequence ends
    const surfaces = has_text && logprobs && surfacesOf(choice.detokenizer, token, logprobs)
    const text = has_text ? choice.detokenizer.push(token) : ''
    if (surfaces) choice.logprobs.push(text, surfaces)
    this.#advance(choice, text, finish)
    if (this.choices.every(({ finish_reason }) => finish_reason !== null)) this.#complete()
  }

  get request_id(): string {
    return this.#options.request.request_id
  }

  /** Ends it from outside. A deadline gives the client what there is; an error says so; who is gone gets nothing. */
  close(outcome: EarlyEnd): void {
    this.#outcome = outcome
    if (outcome === 'error' || outcome === 'revoked') this.answer.error(outcome)
    if (outcome !== 'deadline') return
    for (const choice of this.choices) if (choice.finish_reason === null) this.#advance(choice, '', 'length')
    this.answer.end(this.#usage())
  }

  /** The answer's next bytes are about to be written: everything counted so far is in them. */
  markDelivered(): void {
    if (this.answer.has_bytes) this.#delivered_tokens = this.#completion_tokens
  }

  counts(): StepCounts {
    return {
      request_id: this.#options.request.request_id,
      attempt: this.#options.attempt,
      completion_tokens: this.#completion_tokens,
      delivered_tokens: this.#delivered_tokens,
      first_token_ms: this.#first_token_ms,
      duration_ms: this.#elapsed(),
    }
  }

  record(outcome: Outcome): UsageRecord {
    return {
      ...this.counts(),
      ticket: this.#options.ticket,
      prompt_tokens: this.#prompt_tokens,
      cached_tokens: this.#cached_tokens,
      outcome,
      started_unix_ms: this.#started_unix_ms,
    }
  }

  #advance(choice: Choice, text: string, finish: FinishReason | null): void {
    const end = finish === null ? '' : choice.detokenizer.end()
    const { text: deliverable, stopped } = this.#upToStop(choice, text + end)
    const held = finish !== null && !stopped ? choice.stops.flush() : ''
    choice.finish_reason = stopped ? 'stop' : finish
    const logprobs = choice.logprobs.release(deliverable + held, { ends: choice.finish_reason !== null, stopped })
    this.answer.text(choice.index, choice.echo + deliverable + held, logprobs)
    choice.echo = ''
    if (choice.finish_reason !== null) this.answer.finish(choice.index, choice.finish_reason)
  }

  #upToStop(choice: Choice, text: string): StopResult {
    if (choice.output_tokens <= this.#options.request.min_tokens) return { text, stopped: false }
    return choice.stops.push(text)
  }

  #complete(): void {
    this.#outcome = this.choices.some(({ finish_reason }) => finish_reason === 'length') ? 'length' : 'stop'
    this.answer.end(this.#usage())
  }

  // Of each prompt once, for the choice that computes it. One whose turn never came costs nothing.
  get #prompt_tokens(): number {
    const begun = this.#leaders.filter(({ first_step_at_ms }) => first_step_at_ms !== null)
    return begun.reduce((sum, { prompt_tokens }) => sum + prompt_tokens, 0)
  }

  get #cached_tokens(): number {
    return this.#leaders.reduce((sum, { cached_tokens }) => sum + (cached_tokens ?? 0), 0)
  }

  get #leaders(): Sequence[] {
    return this.choices.map(({ sequence }) => sequence).filter(({ leader }) => leader === null)
  }

  #usage() {
    return usageOf({
      prompt: this.#prompt_tokens,
      cached: this.#cached_tokens,
      completion: this.#completion_tokens,
    })
  }

  #elapsed(): number {
    return Math.round(performance.now() - this.#started)
  }
}
