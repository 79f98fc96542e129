// A request at an engine behind an address: a choice each for what is asked, and one bill for all of them. Each prompt is billed once,
// however many choices it has.

import type { UsageSource } from '../../../contract/internal/sync.ts'
import type { Run, RunEvent, RunFailure } from '../runner.ts'
import { type Upstream, UpstreamChoice } from './choice.ts'
import type { Asked } from './question.ts'
import { UpstreamError } from './upstream-error.ts'

export interface UpstreamRunOptions {
  request_id: string
  n: number
  /** What is asked for each choice, in order. */
  asked: Asked[]
  /** Told when its choices begin and end. */
  running: (change: 1 | -1) => void
}

// From the surest count to the least.
const SOURCES: readonly UsageSource[] = ['upstream', 'counted', 'bounded']

export class UpstreamRun implements Run {
  readonly choices: readonly UpstreamChoice[]
  readonly prompt_tokens: number
  readonly prompt_token_ids?: readonly (readonly number[])[]
  is_stopped = false
  failure: RunFailure | null = null
  readonly #options: UpstreamRunOptions
  readonly #upstream: Upstream
  #has_failed = false

  constructor(options: UpstreamRunOptions, upstream: Upstream) {
    const { asked, request_id, n } = options
    this.#options = options
    this.#upstream = upstream
    this.choices = asked.map((one, index) => new UpstreamChoice({ run: this, index, asked: one, request_id }, upstream))
    const prompts = asked.filter((_, index) => index % n === 0).map(({ prompt }) => prompt)
    this.prompt_tokens = prompts.reduce((sum, { tokens_max }) => sum + tokens_max, 0)
    const ids = prompts.map((prompt) => (prompt.kind === 'ids' ? prompt.ids : []))
    if (asked[0]!.request.return_token_ids) this.prompt_token_ids = ids
  }

  get usage(): Run['usage'] {
    const begun = this.#prompts.flatMap((choices) => choices.find(({ begun_at_ms }) => begun_at_ms !== null) ?? [])
    return {
      prompt_tokens: begun.reduce((sum, { prompt_tokens }) => sum + prompt_tokens, 0),
      cached_tokens: begun.reduce((sum, { cached_tokens }) => sum + cached_tokens, 0),
    }
  }

  get usage_source(): UsageSource {
    const begun = this.choices.filter(({ begun_at_ms }) => begun_at_ms !== null)
    return SOURCES[Math.max(0, ...begun.map(({ source }) => SOURCES.indexOf(source)))]!
  }

  /** The engine's own, as far as it says one, with ours behind it. */
  get fingerprint(): string | null {
    const told = new Set(this.choices.flatMap(({ fingerprint }) => fingerprint ?? []))
    return told.size === 0 ? null : [...[...told].sort(), this.#upstream.fingerprint].join('-')
  }

  start(): void {
    for (const choice of this.choices) void this.#generate(choice)
  }

  stop(): RunEvent[] {
    this.is_stopped = true
    return this.choices.filter(({ is_over }) => !is_over).map((choice) => choice.cut())
  }

  setPaused(is_paused: boolean): void {
    for (const choice of this.choices) choice.setPaused(is_paused)
  }

  get #prompts(): UpstreamChoice[][] {
    const { n } = this.#options
    return Array.from({ length: this.choices.length / n }, (_, prompt) =>
      this.choices.slice(prompt * n, prompt * n + n),
    )
  }

  async #generate(choice: UpstreamChoice): Promise<void> {
    this.#options.running(1)
    try {
      await choice.generate()
    } catch (error) {
      this.fail(error)
    } finally {
      this.#options.running(-1)
    }
  }

  /** One answer has all of its choices: where one fails, all do. */
  fail(error: unknown): void {
    if (this.is_stopped || this.#has_failed) return
    this.#has_failed = true
    if (error instanceof UpstreamError) this.failure = error.failure
    else this.#upstream.watch.noteError(error)
    for (const choice of this.choices) choice.hangUp()
    this.#upstream.hand_out.fail(this)
  }
}
