// What the node measures, as Prometheus text under vLLM's names and bucket bounds, so that vLLM's Grafana board reads it.
// A choice is here what vLLM calls a request, as there. Labels name the model and how choices end; nothing of a caller.

import { Counter, Gauge, Histogram, type Metric, Registry } from 'prom-client'
import type { Outcome } from '../../contract/internal/generation.ts'
import type { Choice, Generation } from '../answer/generation.ts'
import type { Journal } from '../meter/journal.ts'
import type { Runner, RunnerLoad, RunnerStatistics } from '../run/runner.ts'

export interface MetricsOptions {
  model_name: string
  runner: Pick<Runner, 'sequence_tokens_max' | 'load' | 'statistics'>
  journal: Pick<Journal, 'health'>
}

/** What one step made. */
export interface MeasuredStep {
  computed_tokens: number | null // null where the runner cannot know
  drawn_tokens: number
  drawn: Iterable<Choice> // a choice for each event that brought it tokens
  at_ms: number // when it ended, on the monotonic clock
}

type FinishedReason = 'stop' | 'length' | 'abort' | 'error'

const FINISHED: Record<Outcome, FinishedReason> = {
  stop: 'stop',
  length: 'length',
  deadline: 'length', // as its client is told
  client_gone: 'abort',
  node_lost: 'abort',
  revoked: 'abort',
  error: 'error',
}

const FIRST_TOKEN_S = [
  0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640, 2560,
]
const TOKEN_GAP_S = [0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80]
const REQUEST_S = [0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680]
const STEP_TOKENS = [1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384]
const CHOICES = [1, 2, 5, 10, 20]

// What a choice is measured by at its end: key, name and meaning.
const SECONDS = {
  whole: ['e2e_request_latency', 'From arrival to the last token.'],
  queue: ['request_queue_time', 'From arrival to the first step.'],
  run: ['request_inference_time', 'From the first step to the last token.'],
  prefill: ['request_prefill_time', 'From the first step to the first token.'],
  decode: ['request_decode_time', 'From the first token to the last.'],
} as const
const TOKENS = {
  prompt: ['request_prompt_tokens', 'Prompt tokens of a choice.'],
  generated: ['request_generation_tokens', 'Tokens generated for a choice.'],
  allowed: ['request_params_max_tokens', 'The most tokens a choice may have.'],
  longest: ['request_max_num_generation_tokens', 'Tokens of the longest choice of a request.'],
} as const

export class Metrics {
  readonly #registry = new Registry()
  readonly #seconds: Record<keyof typeof SECONDS, Histogram>
  readonly #tokens: Record<keyof typeof TOKENS, Histogram>
  readonly #first_token = this.#histogram('time_to_first_token_seconds', 'Until the first token.', FIRST_TOKEN_S)
  readonly #step_tokens = this.#histogram('iteration_tokens_total', 'Tokens computed in one step.', STEP_TOKENS)
  readonly #choices = this.#histogram('request_params_n', 'Choices a prompt.', CHOICES)
  // The second name is what boards of earlier versions ask for.
  readonly #gaps = [
    this.#crowdHistogram('inter_token_latency_seconds'),
    this.#crowdHistogram('time_per_output_token_seconds'),
  ]
  readonly #finished: Counter<'finished_reason'>
  #prompt_tokens = 0
  #generation_tokens = 0

  constructor({ model_name, runner, journal }: MetricsOptions) {
    this.#registry.setDefaultLabels({ model_name, engine: '0' })
    const bounds = steps125(runner.sequence_tokens_max)
    this.#seconds = mapValues(SECONDS, ([name, help]) => this.#histogram(`${name}_seconds`, help, REQUEST_S))
    this.#tokens = mapValues(TOKENS, ([name, help]) => this.#histogram(name, help, bounds))
    this.#finished = new Counter({
      name: 'vllm:request_success_total',
      help: 'Choices that ended, by how.',
      labelNames: ['finished_reason'],
      registers: [this.#registry],
    })
    for (const finished_reason of new Set(Object.values(FINISHED))) this.#finished.inc({ finished_reason }, 0)
    this.#total('prompt_tokens', 'Prompt tokens, each prompt once.', () => this.#prompt_tokens)
    this.#total('generation_tokens', 'Tokens generated.', () => this.#generation_tokens)
    this.#watch(runner)
    this.#watchJournal(journal)
  }

  get content_type(): string {
    return this.#registry.contentType
  }

  text(): Promise<string> {
    return this.#registry.metrics()
  }

  step({ computed_tokens, drawn_tokens, drawn, at_ms }: MeasuredStep): void {
    if (computed_tokens !== null) this.#step_tokens.observe(computed_tokens)
    this.#generation_tokens += drawn_tokens
    // Streams that had a token in one step and have one in the next waited equally long: a few gaps, many times each.
    const times = new Map<number, number>()
    for (const choice of drawn) {
      const before_ms = choice.last_token_at_ms
      if (before_ms === null) this.#firstToken(choice, at_ms)
      else if (before_ms < at_ms) times.set(before_ms, (times.get(before_ms) ?? 0) + 1)
      choice.last_token_at_ms = at_ms
    }
    for (const [before_ms, count] of times)
      for (const gaps of this.#gaps) gaps.observe((at_ms - before_ms) / 1000, count)
  }

  ended(generation: Generation): void {
    const unfinished = FINISHED[generation.outcome!]
    for (const choice of generation.choices) this.#choiceEnded(choice, choice.finish_reason ?? unfinished)
    this.#choices.observe(generation.n)
    this.#tokens.longest.observe(Math.max(...generation.choices.map(({ output_tokens }) => output_tokens)))
  }

  #firstToken(choice: Choice, at_ms: number): void {
    choice.first_token_at_ms = at_ms
    this.#countPrompt(choice)
    this.#first_token.observe((at_ms - choice.arrived_at_ms) / 1000)
  }

  #countPrompt({ leads, run }: Choice): void {
    if (leads) this.#prompt_tokens += run.prompt_tokens
  }

  #choiceEnded(choice: Choice, finished_reason: FinishedReason): void {
    const { arrived_at_ms, first_token_at_ms, last_token_at_ms } = choice
    const { prompt_tokens, output_tokens_max, begun_at_ms } = choice.run
    if (output_tokens_max === 0 && begun_at_ms !== null) this.#countPrompt(choice) // no first token counts it
    this.#finished.inc({ finished_reason })
    this.#tokens.prompt.observe(prompt_tokens)
    this.#tokens.generated.observe(choice.output_tokens)
    this.#tokens.allowed.observe(output_tokens_max)
    observeSpan(this.#seconds.whole, arrived_at_ms, last_token_at_ms ?? performance.now())
    observeSpan(this.#seconds.queue, arrived_at_ms, begun_at_ms)
    observeSpan(this.#seconds.run, begun_at_ms, last_token_at_ms)
    observeSpan(this.#seconds.prefill, begun_at_ms, first_token_at_ms)
    observeSpan(this.#seconds.decode, first_token_at_ms, last_token_at_ms)
  }

  // Read when asked for, so that a step need not write them.
  #watch(runner: MetricsOptions['runner']): void {
    const gauge = (name: string, help: string, value: (load: RunnerLoad) => number) =>
      new Gauge({
        name: `vllm:${name}`,
        help,
        registers: [this.#registry],
        collect() {
          this.set(value(runner.load))
        },
      })
    const held = ({ blocks_free, blocks_total }: RunnerLoad) =>
      blocks_total === 0 ? 0 : 1 - blocks_free / blocks_total
    gauge('num_requests_running', 'Choices in the running batch.', ({ running }) => running)
    gauge('num_requests_waiting', 'Choices that wait for a place in it.', ({ waiting }) => waiting)
    gauge('kv_cache_usage_perc', 'KV blocks in use; 1 is all of them.', held)
    gauge('gpu_cache_usage_perc', 'The name before vLLM 0.10 of kv_cache_usage_perc.', held)
    const total = (name: string, help: string, value: (statistics: RunnerStatistics) => number) =>
      this.#total(name, help, () => value(runner.statistics))
    total('num_preemptions', 'Choices that gave their blocks back before their end.', ({ preemptions }) => preemptions)
    total('prefix_cache_queries', 'Prompt tokens looked for in the prefix cache.', ({ cache_queries }) => cache_queries)
    total('prefix_cache_hits', 'Prompt tokens found in it.', ({ cache_hits }) => cache_hits)
    total('spec_decode_num_drafts', 'Guesses at what comes next.', ({ drafts }) => drafts)
    total('spec_decode_num_draft_tokens', 'Tokens guessed.', ({ drafts_proposed }) => drafts_proposed)
    total('spec_decode_num_accepted_tokens', 'Tokens guessed right.', ({ drafts_accepted }) => drafts_accepted)
  }

  #watchJournal(journal: MetricsOptions['journal']): void {
    const gauge = (name: string, help: string, value: (health: Journal['health']) => number) =>
      new Gauge({
        name: `ziya:journal_${name}`,
        help,
        registers: [this.#registry],
        collect() {
          this.set(value(journal.health))
        },
      })
    gauge('refused', '1 while the disk takes no journal: streams pause.', (health) => Number(!!health.refused_by_disk))
    gauge('damaged_files', 'Journals that were found damaged and kept aside.', ({ damaged_files }) => damaged_files)
    gauge('unacknowledged', 'Records that the gateway has not settled.', ({ unacknowledged }) => unacknowledged)
  }

  #histogram(name: string, help: string, buckets: number[]): Histogram {
    return new Histogram({ name: `vllm:${name}`, help, buckets, registers: [this.#registry] })
  }

  #crowdHistogram(name: string): CrowdHistogram {
    const histogram = new CrowdHistogram(`vllm:${name}`, 'Between one token and the next.', TOKEN_GAP_S)
    this.#registry.registerMetric(histogram as unknown as Metric<never>)
    return histogram
  }

  #total(name: string, help: string, value: () => number): void {
    new Counter({
      name: `vllm:${name}_total`,
      help,
      registers: [this.#registry],
      collect() {
        this.reset()
        this.inc(value())
      },
    })
  }
}

// What never came has no duration.
function observeSpan(histogram: Histogram, from_ms: number | null, to_ms: number | null): void {
  if (from_ms !== null && to_ms !== null) histogram.observe((to_ms - from_ms) / 1000)
}

function mapValues<K extends string, A, B>(record: Record<K, A>, of: (value: A) => B): Record<K, B> {
  return Object.fromEntries(Object.entries<A>(record).map(([key, value]) => [key, of(value)])) as Record<K, B>
}

/** A histogram that takes one observation many times at once, which the library's does not. */
class CrowdHistogram {
  readonly name: string
  readonly #help: string
  readonly #buckets: readonly number[]
  readonly #counts: number[] // of each bucket alone; the last is above all bounds
  #sum = 0

  constructor(name: string, help: string, buckets: readonly number[]) {
    this.name = name
    this.#help = help
    this.#buckets = buckets
    this.#counts = new Array<number>(buckets.length + 1).fill(0)
  }

  observe(value: number, times: number): void {
    const bucket = this.#buckets.findIndex((bound) => value <= bound)
    this.#counts[bucket < 0 ? this.#buckets.length : bucket]! += times
    this.#sum += value * times
  }

  get() {
    let count = 0
    const values: { metricName: string; labels: object; value: number }[] = this.#counts.map((own, i) => {
      count += own
      return { metricName: `${this.name}_bucket`, labels: { le: this.#buckets[i] ?? '+Inf' }, value: count }
    })
    values.push({ metricName: `${this.name}_sum`, labels: {}, value: this.#sum })
    values.push({ metricName: `${this.name}_count`, labels: {}, value: count })
    return { name: this.name, help: this.#help, type: 'histogram', values }
  }
}

/** 1, 2, 5, 10, 20, … up to a bound. */
function steps125(max: number): number[] {
  const bounds: number[] = []
  for (let i = 0; ; i++) {
    const bound = [1, 2, 5][i % 3]! * 10 ** Math.floor(i / 3)
    if (bound > max) return bounds
    bounds.push(bound)
  }
}
