// A runner whose engine is somebody else's, behind an address that speaks OpenAI's API: vLLM, SGLang, a router in front of many of them,
// OpenAI itself. It needs no GPU and no weights; tickets, journal, answers and bills are those of every node.

import { createHash } from 'node:crypto'
import type { Constraint, PlainPart, PromptPart } from '../../../contract/internal/generation.ts'
import type { Truncation } from '../../../contract/internal/question.ts'
import { Refusal } from '../../refusal.ts'
import type {
  HeldConstraint,
  Run,
  Runner,
  RunnerListener,
  RunnerLoad,
  RunnerStatistics,
  RunRequest,
} from '../runner.ts'
import { type Address, Addresses, type AddressSource } from './addresses.ts'
import type { Upstream } from './choice.ts'
import { Connection } from './connection.ts'
import { contextTokens } from './context.ts'
import { type Dialect, type DialectName, dialects } from './dialect.ts'
import { HandOut } from './hand-out.ts'
import { type ConstraintFields, constraintFields } from './held-constraint.ts'
import { type Prompt, promptOf } from './prompt.ts'
import { refuseUnsaid, unsupported } from './question.ts'
import { UpstreamRun } from './run.ts'
import type { Vocabulary } from './vocabulary.ts'
import { type Log, Watch } from './watch.ts'

export interface UpstreamRunnerOptions extends AddressSource {
  dialect: DialectName
  /** The model's name there, where an address has none of its own. */
  model: string
  sequence_tokens_max: number
  vocabulary: Vocabulary | null
  choices_max: number // that run at once
  silent_ms_max: number
  last_word_ms_max: number
  log: Log
}

const DIGITS = 6 // few: what else can change an answer is the engine's to name

/** Names what of ours can change an answer: in which fields the engine is asked, and whether prompts are its to tokenize. */
function fingerprintOf({ dialect, vocabulary }: UpstreamRunnerOptions): string {
  const parts = JSON.stringify([dialect, vocabulary !== null])
  return createHash('sha256').update(parts).digest('hex').slice(0, DIGITS)
}

/** KV memory is not ours to count in blocks: these are thousandths of each engine's. */
const KV_PARTS = 1000

export class UpstreamRunner implements Runner {
  readonly sequence_tokens_max: number
  readonly #options: UpstreamRunnerOptions
  readonly #dialect: Dialect
  readonly #upstream: Upstream
  #running = 0

  /** Asks the engine how long its context is, where nobody said. Rejects where it does not answer, or cannot say. */
  static async connect(
    options: Omit<UpstreamRunnerOptions, 'sequence_tokens_max'> & { context_tokens: number | undefined },
  ): Promise<UpstreamRunner> {
    const addresses = new Addresses(options)
    const connection = new Connection(options)
    const asked = () => contextTokens(addresses, connection, options.model)
    const sequence_tokens_max = options.context_tokens ?? (await asked())
    return new UpstreamRunner({ ...options, sequence_tokens_max }, { addresses, connection })
  }

  private constructor(
    options: UpstreamRunnerOptions,
    { addresses, connection }: Pick<Upstream, 'addresses' | 'connection'>,
  ) {
    const dialect = dialects[options.dialect]
    const watch = new Watch({ addresses, connection, dialect, log: options.log })
    this.#options = options
    this.#dialect = dialect
    const fingerprint = fingerprintOf(options)
    this.#upstream = { ...options, addresses, connection, dialect, hand_out: new HandOut(), watch, fingerprint }
    this.sequence_tokens_max = options.sequence_tokens_max
  }

  get is_available(): boolean {
    return this.#upstream.addresses.is_available
  }

  get load(): RunnerLoad {
    const capacities = this.#addresses.flatMap(({ capacity }) => capacity ?? [])
    const kv = capacities.flatMap(({ kv_used }) => kv_used ?? [])
    return {
      running: this.#running,
      waiting: capacities.reduce((sum, { waiting }) => sum + waiting, 0),
      blocks_total: KV_PARTS * kv.length,
      blocks_free: kv.reduce((sum, used) => sum + Math.round(KV_PARTS * (1 - used)), 0),
      queue_s: 1,
      step_in_flight_ms: null,
      last_step_age_ms: this.#upstream.hand_out.last_step_age_ms,
    }
  }

  get statistics(): RunnerStatistics {
    const none = { preemptions: 0, drafts: 0, drafts_proposed: 0, drafts_accepted: 0 }
    return { ...none, cache_queries: 0, cache_hits: 0 }
  }

  /** Rejects where no address answers. */
  async open(listener: RunnerListener): Promise<void> {
    const { hand_out, watch } = this.#upstream
    hand_out.open(listener)
    await watch.askAll()
    if (!this.is_available) throw new Error(`no address answers: ${this.#addresses.map(faultText).join('; ')}`)
    watch.start()
  }

  hasRoomFor(choices: number): boolean {
    return this.#running + choices <= this.#options.choices_max
  }

  async hold(constraint: Constraint): Promise<HeldConstraint> {
    return constraintFields(constraint, this.#dialect)
  }

  async format(prompts: PromptPart[][]): Promise<PromptPart[][]> {
    return prompts.map((parts) => parts.flatMap((part) => formatted(part, this.#options.vocabulary)))
  }

  prepare(request: RunRequest, cache_salt: string, held: HeldConstraint | null = null): Run {
    if (!this.is_available)
      throw new Refusal('overloaded', 'What serves this model cannot be reached now.', { retry_after_s: 1 })
    const room = { ...this.#upstream, sequence_tokens_max: this.sequence_tokens_max }
    const prompts = request.prompts.map((parts) => promptOf(parts, request, room))
    refuseUnsaid(request, prompts, this.#dialect)
    const max_tokens = outputTokensMax(request, prompts, this.sequence_tokens_max)
    const own = {
      request,
      max_tokens,
      cache_salt,
      model: this.#options.model,
      constraint: (held ?? {}) as ConstraintFields,
    }
    const asked = prompts.flatMap((prompt, p) =>
      Array.from({ length: request.n }, (_, copy) => ({ ...own, prompt, choice: p * request.n + copy })),
    )
    const running = (change: number) => {
      this.#running += change
    }
    return new UpstreamRun({ request_id: request.request_id, n: request.n, asked, running }, this.#upstream)
  }

  encode(prompts: PromptPart[][], truncated: Truncation = { max_tokens: 0 }): number[][] {
    if (prompts.flat().some((part) => 'chat' in part)) throw unsupported('messages')
    return this.#vocabulary.encode(prompts as PlainPart[][], truncated, this.sequence_tokens_max)
  }

  decode(tokens: readonly number[]): { text: string; pieces: string[] } {
    return this.#vocabulary.decode(tokens)
  }

  async close(): Promise<void> {
    this.#upstream.watch.stop()
    await this.#upstream.connection.close()
  }

  get #addresses(): readonly Address[] {
    return this.#upstream.addresses.all
  }

  get #vocabulary(): Vocabulary {
    const { vocabulary } = this.#options
    if (vocabulary) return vocabulary
    throw new Refusal('unsupported', 'The tokenizer of this model is not there where it is served.', { param: 'model' })
  }
}

// A chat is the engine's to format; what stands in a gap is asked for by tokens, which only a vocabulary has.
function formatted(part: PromptPart, vocabulary: Vocabulary | null): PromptPart[] {
  if ('judged' in part)
    throw new Refusal('wrong_model', 'What serves this model writes answers and does not judge them.', {
      param: 'model',
    })
  if (!('infill' in part)) return [part]
  if (vocabulary) return vocabulary.infill(part)
  throw new Refusal('no_infill', 'The tokenizer of this model is not there where it is served.', { param: 'suffix' })
}

function faultText({ settings, fault }: Address): string {
  return `${settings.url}: ${fault ?? (settings.drain ? 'it is drained' : 'it was not asked')}`
}

// Text has a token for three bytes, as a rule: the engine refuses where that was too few.
const USUAL_TOKEN_BYTES = 3

function outputTokensMax({ max_tokens, max_tokens_is_default }: RunRequest, prompts: Prompt[], room: number): number {
  const longest = Math.max(...prompts.map(usualTokens))
  if (max_tokens_is_default && room > longest) return Math.min(max_tokens, room - longest)
  const counted = prompts.find((prompt) => prompt.is_counted && prompt.tokens_max + max_tokens > room)
  if (!counted) return Math.min(max_tokens, room)
  throw new Refusal(
    'context_length_exceeded',
    `This model's maximum context length is ${room} tokens. However, the prompt has ${counted.tokens_max} tokens and the ` +
      `completion may have ${max_tokens}.`,
    { param: 'prompt' },
  )
}

function usualTokens({ is_counted, tokens_max, bytes }: Prompt): number {
  return is_counted ? tokens_max : Math.min(tokens_max, Math.ceil(bytes / USUAL_TOKEN_BYTES))
}
