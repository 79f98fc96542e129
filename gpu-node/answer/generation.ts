// One accepted request while it runs: what it has counted so far, and the answer that grows from its runner's events. It knows
// text and counts; the streams decide when, the journal and the client say where.

import type { FinishReason, GenerateRequest, Outcome, Shape } from '../../contract/internal/generation.ts'
import type { UsageRecord, VerificationCounts } from '../../contract/internal/sync.ts'
import { usageOf, type VerificationReport } from '../../contract/public/openai.ts'
import type { Run, RunChoice, RunEvent } from '../run/runner.ts'
import { type Answer, answerTo } from './answer.ts'

export interface GenerationOptions {
  ticket: string // as it came
  attempt: number
  request: GenerateRequest
  run: Run
}

export interface Choice {
  readonly index: number
  readonly run: RunChoice
  /** It is the first choice over its prompt: there the prompt counts. */
  readonly leads: boolean
  output_tokens: number
  finish_reason: FinishReason | null
  // The metrics' times are on the monotonic clock.
  readonly arrived_at_ms: number
  first_token_at_ms: number | null
  last_token_at_ms: number | null
}

/** How it ends where it does not end by itself. */
export type EarlyEnd = 'client_gone' | 'deadline' | 'revoked' | 'error'

/** Of these a client wants all values, or to be told that they are missing. */
const WHOLE_OR_NOTHING: ReadonlySet<Shape> = new Set(['score', 'rerank'])

export class Generation {
  readonly run: Run
  readonly choices: readonly Choice[]
  readonly answer: Answer
  readonly #options: GenerationOptions
  readonly #started = performance.now()
  readonly #started_unix_ms = Date.now()
  #completion_tokens = 0
  #usage: Run['usage']
  #first_token_ms: number | null = null
  #outcome: Outcome | null = null

  constructor(options: GenerationOptions) {
    const { request, run } = options
    this.#options = options
    this.run = run
    this.#usage = run.usage
    this.answer = answerTo(request, () => this.#spelledUsage(), run)
    this.choices = run.choices.map((choice, index) => ({
      index,
      run: choice,
      leads: index % request.n === 0,
      output_tokens: 0,
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

  get attempt(): number {
    return this.#options.attempt
  }

  get request_id(): string {
    return this.#options.request.request_id
  }

  /** Counts what an event brought and writes it down. Returns the choice it is of. */
  take(event: RunEvent): Choice {
    const choice = this.#count(event)
    this.#write(choice, event)
    if (this.choices.every(({ finish_reason }) => finish_reason !== null)) this.#complete()
    return choice
  }

  /**
   * Ends it from outside; `last` is what its run still held. A deadline gives the client what there is, and is an error where a part
   * of the answer would be none; an error says so; who is gone gets nothing.
   */
  close(early: EarlyEnd, last: readonly RunEvent[]): void {
    const outcome = early === 'deadline' && WHOLE_OR_NOTHING.has(this.#options.request.shape) ? 'error' : early
    this.#outcome = outcome
    const choices = last.map((event) => this.#count(event))
    if (outcome === 'error') this.answer.error(this.run.failure ?? 'error')
    if (outcome === 'revoked') this.answer.error('revoked')
    if (outcome !== 'deadline') return
    for (const [i, event] of last.entries()) this.#write(choices[i]!, event)
    this.answer.end(this.#spelledUsage())
  }

  /** What is billed so far. */
  get usage(): { prompt_tokens: number; cached_tokens: number; completion_tokens: number } {
    return { ...this.#usageNow(), completion_tokens: this.#completion_tokens }
  }

  /** Counted so far, over all choices. */
  get completion_tokens(): number {
    return this.#completion_tokens
  }

  /** What it has counted, of which so many tokens were delivered. */
  counts(delivered_tokens: number) {
    return {
      request_id: this.#options.request.request_id,
      attempt: this.#options.attempt,
      ...this.#usageNow(),
      completion_tokens: this.#completion_tokens,
      delivered_tokens,
      first_token_ms: this.#first_token_ms,
      duration_ms: this.#elapsed(),
      ...(this.run.usage_source && { usage_source: this.run.usage_source }),
    }
  }

  /** Its last word. An answer that was written to its end is delivered whole with it; of another it is what its reader took before. */
  record(outcome: Outcome, delivered_tokens: number): UsageRecord {
    const { verification } = this.run
    // Candidates are made and tested for a client who waits; one who leaves has had that.
    const is_had = outcome === 'client_gone' && verification
    const is_whole = outcome === 'stop' || outcome === 'length' || outcome === 'deadline'
    return {
      ...this.counts(is_whole || is_had ? this.#completion_tokens : delivered_tokens),
      ...(verification && { verification: countsOf(verification) }),
      ticket: this.#options.ticket,
      outcome,
      started_unix_ms: this.#started_unix_ms,
    }
  }

  // Once all prompts have begun it stays as it is, where it is our own engine that counts.
  #usageNow(): Run['usage'] {
    const may_change = this.#usage.prompt_tokens < this.run.prompt_tokens || this.run.usage_source !== undefined
    if (may_change) this.#usage = this.run.usage
    return this.#usage
  }

  #count({ choice: index, tokens }: RunEvent): Choice {
    const choice = this.choices[index]!
    choice.output_tokens += tokens
    this.#completion_tokens += tokens
    if (tokens > 0) this.#first_token_ms ??= this.#elapsed()
    return choice
  }

  #write(choice: Choice, { text, logprobs, token_ids, finish, stop = null }: RunEvent): void {
    choice.finish_reason = finish
    this.answer.text(choice.index, text, logprobs, token_ids)
    if (finish !== null) this.answer.finish(choice.index, { reason: finish, stop })
  }

  #complete(): void {
    this.#outcome = this.choices.some(({ finish_reason }) => finish_reason === 'length') ? 'length' : 'stop'
    this.answer.end(this.#spelledUsage())
  }

  #spelledUsage() {
    const { prompt_tokens, cached_tokens } = this.#usageNow()
    const { prediction = null } = this.run
    return usageOf({ prompt: prompt_tokens, cached: cached_tokens, completion: this.#completion_tokens, prediction })
  }

  #elapsed(): number {
    return Math.round(performance.now() - this.#started)
  }
}

function countsOf({ language, passed, candidates, attempts }: VerificationReport): VerificationCounts {
  return { language, passed, candidates: candidates.length, attempts }
}
