// A runner without a model: each choice says one word a step, for as long as it may. What it counts and says follows from the
// request alone, so that a test knows every byte and every token of the bill.

import type { PromptPart } from '../../contract/internal/generation.ts'
import { Refusal } from '../../gpu-node/refusal.ts'
import type {
  Run,
  RunChoice,
  RunEvent,
  Runner,
  RunnerListener,
  RunnerLoad,
  RunRequest,
} from '../../gpu-node/run/runner.ts'

/** A prompt that it refuses. */
export const UNREADABLE = 'unreadable'
/** So many tokens of each prompt are always cached. */
export const CACHED_TOKENS = 1

export class FakeRunner implements Runner {
  readonly sequence_tokens_max = 1000
  readonly statistics = {
    ...{ preemptions: 0, cache_queries: 0, cache_hits: 0 },
    ...{ drafts: 0, drafts_proposed: 0, drafts_accepted: 0 },
  }
  /** How many events each step had. */
  readonly steps: number[] = []
  /** The prompts of the runs that were started, in order. */
  readonly started: RunRequest['prompts'][] = []
  closed = false
  /** No step begins while it is set: what runs cannot end by itself. */
  is_held = false
  readonly #step_ms: number
  readonly #runs = new Set<FakeRun>()
  readonly #failing = new Set<FakeRun>()
  #listener: RunnerListener | null = null
  #timer: NodeJS.Timeout | undefined

  constructor({ step_ms }: { step_ms: number }) {
    this.#step_ms = step_ms
  }

  get load(): RunnerLoad {
    const running = [...this.#runs].reduce((sum, { open }) => sum + open.length, 0)
    const blocks = { blocks_total: 0, blocks_free: 0 }
    return { running, waiting: 0, ...blocks, queue_s: 1, step_in_flight_ms: null, last_step_age_ms: 0 }
  }

  async open(listener: RunnerListener): Promise<void> {
    this.#listener = listener
    const step = async () => {
      if (!this.is_held && this.#runs.size + this.#failing.size > 0) await this.#step()
      this.#timer = setTimeout(step, this.#step_ms)
    }
    this.#timer = setTimeout(step, this.#step_ms)
  }

  hasRoomFor(): boolean {
    return true
  }

  async hold(): Promise<object> {
    throw new Refusal('invalid_constraint', 'This runner holds nothing.')
  }

  async format(prompts: PromptPart[][]): Promise<PromptPart[][]> {
    return prompts.map((parts) =>
      parts.flatMap((part) => {
        if ('infill' in part) return [{ text: part.infill.before }, { text: part.infill.after }]
        if ('judged' in part) return [{ text: part.judged.query }, { text: part.judged.answer }]
        return 'chat' in part ? part.chat.map(({ text }) => ({ text })) : [part]
      }),
    )
  }

  prepare(request: RunRequest): Run {
    const { prompts } = request
    if (prompts.some((prompt) => prompt.some((part) => 'text' in part && part.text.includes(UNREADABLE))))
      throw new Refusal('unknown_special', 'The prompt cannot be read.')
    return new FakeRun(request, {
      started: (run) => {
        this.#runs.add(run)
        this.started.push(prompts)
      },
      stopped: (run) => this.#runs.delete(run),
    })
  }

  /** Its tokens are the lengths of its words. */
  encode(prompts: RunRequest['prompts']): number[][] {
    return prompts.map((parts) =>
      parts.flatMap((part) => ('text' in part ? part.text.split(/\s+/).map(({ length }) => length) : [0])),
    )
  }

  decode(tokens: readonly number[]): { text: string; pieces: string[] } {
    const pieces = tokens.map((length) => 'x'.repeat(length))
    return { text: pieces.join(' '), pieces }
  }

  async close(): Promise<void> {
    this.closed = true
    clearTimeout(this.#timer)
  }

  /** All that runs now fails, and the runner goes on. */
  failRuns(): void {
    for (const run of this.#runs) this.#failing.add(run)
    this.#runs.clear()
  }

  /** The runner is lost. */
  fail(error: Error): void {
    clearTimeout(this.#timer)
    this.#listener!.onFailed(error)
  }

  async #step(): Promise<void> {
    const failed = [...this.#failing]
    this.#failing.clear()
    const events = [...this.#runs].flatMap((run) => run.nextEvents())
    for (const run of this.#runs) if (run.open.length === 0) this.#runs.delete(run)
    this.steps.push(events.length)
    await this.#listener!.onStep({ at_ms: performance.now(), computed_tokens: null, events, failed })
  }
}

interface Told {
  started: (run: FakeRun) => void
  stopped: (run: FakeRun) => void
}

class FakeRun implements Run {
  readonly prompt_tokens: number
  readonly choices: FakeChoice[]
  readonly #prompts: number
  readonly #told: Told
  #paused = false

  constructor({ prompts, n, max_tokens }: RunRequest, told: Told) {
    const prompt_tokens = prompts.map(promptTokens)
    this.#prompts = prompts.length
    this.#told = told
    this.prompt_tokens = prompt_tokens.reduce((a, b) => a + b)
    this.choices = prompt_tokens.flatMap((tokens) =>
      Array.from({ length: n }, () => new FakeChoice(tokens, max_tokens)),
    )
  }

  get open(): FakeChoice[] {
    return this.choices.filter(({ tokens, output_tokens_max }) => tokens < output_tokens_max)
  }

  get usage(): Run['usage'] {
    const has_begun = this.choices.some(({ begun_at_ms }) => begun_at_ms !== null)
    return {
      prompt_tokens: has_begun ? this.prompt_tokens : 0,
      cached_tokens: has_begun ? CACHED_TOKENS * this.#prompts : 0,
    }
  }

  start(): void {
    this.#told.started(this)
  }

  stop(): RunEvent[] {
    this.#told.stopped(this)
    return this.open.map((choice) => this.#event(choice, { text: ' …', tokens: 0, finish: 'length' }))
  }

  setPaused(paused: boolean): void {
    this.#paused = paused
  }

  nextEvents(): RunEvent[] {
    if (this.#paused) return []
    return this.open.map((choice) => {
      const text = wordOf(this.choices.indexOf(choice), choice.tokens)
      choice.begun_at_ms ??= performance.now()
      choice.tokens++
      return this.#event(choice, {
        text,
        tokens: 1,
        finish: choice.tokens === choice.output_tokens_max ? 'length' : null,
      })
    })
  }

  #event(choice: FakeChoice, said: Pick<RunEvent, 'text' | 'tokens' | 'finish'>): RunEvent {
    return { run: this, choice: this.choices.indexOf(choice), logprobs: [], ...said }
  }
}

class FakeChoice implements RunChoice {
  readonly prompt_tokens: number
  readonly output_tokens_max: number
  begun_at_ms: number | null = null
  tokens = 0

  constructor(prompt_tokens: number, output_tokens_max: number) {
    this.prompt_tokens = prompt_tokens
    this.output_tokens_max = output_tokens_max
  }
}

function wordOf(choice: number, token: number): string {
  return ` ${'abcdefgh'[choice]}${token}`
}

/** What a choice has said after so many tokens. */
export function textOfChoice(choice: number, tokens: number): string {
  return Array.from({ length: tokens }, (_, token) => wordOf(choice, token)).join('')
}

/** A word is a token, and so is each special piece or given id. */
function promptTokens(parts: RunRequest['prompts'][number]): number {
  return parts.reduce((sum, part) => {
    if ('text' in part) return sum + part.text.split(/\s+/).filter(Boolean).length
    return sum + ('tokens' in part ? part.tokens.length : 1)
  }, 0)
}
