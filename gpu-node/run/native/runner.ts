// Our own engine as a runner: a model, the scheduler of its steps, and the loop that runs them.

import assert from 'node:assert/strict'
import {
  type Constraint,
  neutralSampling,
  type PlainPart,
  type PromptPart,
} from '../../../contract/internal/generation.ts'
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
import { ChatTemplate } from './chat/chat-template.ts'
import type { AdapterSource, Engine } from './engine.ts'
import { fingerprintOf } from './fingerprint.ts'
import { Grammar } from './grammar/grammar.ts'
import { Grammars } from './grammar/grammars.ts'
import { infillParts } from './infill.ts'
import { judgedParts, wrongModel } from './judged.ts'
import type { Model } from './load/model-folder.ts'
import { encodePrompts, prepareChoices, undrawableIds } from './prepare.ts'
import { NativeRun } from './run.ts'
import { biasOf } from './sampling.ts'
import { Scheduler, type SchedulerLimits } from './scheduler.ts'
import { Sequence } from './sequence.ts'
import { StepLoop } from './step-loop.ts'
import { Detokenizer } from './tokenizer/detokenizer.ts'
import { refuseStrangeIds } from './tokenizer/encode-prompt.ts'

export interface NativeRunnerOptions {
  model: Pick<Model, 'shape' | 'tokenizer' | 'eos_ids'> & Partial<Pick<Model, 'chat_template' | 'architecture'>>
  engine: Engine
  /** What the engine was loaded with, by the names that requests call them by. */
  adapters?: readonly NamedAdapter[]
  limits: SchedulerLimits
  lookahead: 'auto' | 'on' | 'off' // auto: on a GPU
  /** Told of an error that ended one sequence alone. */
  onFault?: (error: unknown) => void
}

export interface NamedAdapter extends AdapterSource {
  name: string
}

export class NativeRunner implements Runner {
  readonly sequence_tokens_max: number
  readonly #options: NativeRunnerOptions
  readonly #scheduler: Scheduler
  readonly #loop: StepLoop
  readonly #grammars: Grammars
  readonly #chat_template: ChatTemplate | null
  readonly #undrawable_ids: readonly number[]
  readonly #adapters: ReadonlyMap<string, { place: number; fingerprint: string }>
  readonly #fingerprint: string | null

  constructor(options: NativeRunnerOptions) {
    const { model, engine, limits, lookahead, onFault } = options
    const looks_ahead = lookahead === 'auto' ? engine.info.device.startsWith('cuda') : lookahead === 'on'
    this.#options = options
    this.#grammars = new Grammars(model)
    this.#chat_template = chatTemplateOf(model)
    this.#undrawable_ids = undrawableIds(model)
    this.#fingerprint = engine.info.weights_digest === undefined ? null : fingerprintOf(model.shape, engine.info)
    this.#adapters = adaptersOf(options)
    this.#scheduler = new Scheduler({ ...limits, vocab_size: model.shape.vocab_size })
    this.#loop = new StepLoop({ engine, scheduler: this.#scheduler, looks_ahead, ...(onFault && { onFault }) })
    this.sequence_tokens_max = Math.min(model.shape.context_tokens, this.#scheduler.sequence_tokens_max)
  }

  get load(): RunnerLoad {
    const { running, waiting, blocks_total, blocks_free } = this.#scheduler.status
    const { queue_s, step_in_flight_ms, last_step_age_ms } = this.#loop
    return { running, waiting, blocks_total, blocks_free, queue_s, step_in_flight_ms, last_step_age_ms }
  }

  get statistics(): RunnerStatistics {
    return this.#scheduler.status
  }

  async open(listener: RunnerListener): Promise<void> {
    await this.#generateOneToken()
    this.#loop.open(listener)
  }

  hasRoomFor(choices: number): boolean {
    return this.#scheduler.hasRoomFor(choices)
  }

  hold(constraint: Constraint, account: string): Promise<HeldConstraint> {
    return this.#grammars.prepare(constraint, account)
  }

  async format(prompts: PromptPart[][]): Promise<PlainPart[][]> {
    return Promise.all(prompts.map((parts) => this.#formatted(parts)))
  }

  prepare(request: RunRequest, cache_salt: string, held: HeldConstraint | null = null): Run {
    assert(held === null || held instanceof Grammar, 'a constraint is held by the runner that is to follow it')
    const { model } = this.#options
    const limits = { sequence_tokens_max: this.sequence_tokens_max, undrawable_ids: this.#undrawable_ids }
    const adapter = this.#adapters.get(request.model)
    const room = { model, ...limits, adapter: adapter?.place, grammar: held, judges: this.#judges }
    const choices = prepareChoices(request, cache_salt, room)
    return new NativeRun(request, choices, this.#loop, adapter?.fingerprint ?? this.#fingerprint)
  }

  encode(prompts: PromptPart[][], truncated: Truncation = { max_tokens: 0 }): number[][] {
    return encodePrompts({ prompts, ...truncated }, { ...this.#options, sequence_tokens_max: this.sequence_tokens_max })
  }

  decode(tokens: readonly number[]): { text: string; pieces: string[] } {
    const { tokenizer } = this.#options.model
    refuseStrangeIds('tokens', tokens, tokenizer)
    return {
      text: Detokenizer.textOf(tokenizer, tokens),
      pieces: tokens.map((id) => tokenizer.piece(id)?.text ?? ''),
    }
  }

  async close(): Promise<void> {
    await this.#grammars.close()
    await this.#chat_template?.close()
    await this.#options.engine.close()
  }

  get #judges(): boolean {
    return this.#options.model.architecture?.judgedText !== undefined
  }

  async #formatted(parts: PromptPart[]): Promise<PlainPart[]> {
    const plain: PlainPart[] = []
    for (const part of parts) {
      if ('judged' in part) plain.push(...judgedParts(part, this.#options.model))
      else if (this.#judges) throw wrongModel('This model judges answers and writes none: ask /v1/score or /v1/rerank.')
      else if ('infill' in part) plain.push(...infillParts(part, this.#options.model.tokenizer))
      else if (!('chat' in part)) plain.push(part)
      else if (this.#chat_template) plain.push(...(await this.#chat_template.parts(part)))
      else
        throw new Refusal('invalid_messages', 'The folder of this model has no chat template.', { param: 'messages' })
    }
    return plain
  }

  // Ready means that a token was really computed, not that a port is open.
  async #generateOneToken(): Promise<void> {
    const sampling = { ...neutralSampling, temperature: 0, seed: 0n, bias: biasOf([]), logprobs: null }
    const limits = { output_tokens_max: 1, output_tokens_min: 0, stop_ids: new Set<number>(), cache_salt: '' }
    const judged = this.#judges && { output_tokens_max: 0, is_judged: true, sampling: { ...sampling, logprobs: 0 } }
    this.#scheduler.submit(new Sequence({ prompt: [0], ...limits, priority: 'interactive', sampling, ...judged }))
    const step = this.#scheduler.schedule()!
    const [output] = this.#scheduler.apply(step, await this.#options.engine.step(step.batch))
    for (const { error } of this.#scheduler.takeFaults()) throw error
    if (output && 'is_broken' in output)
      throw Object.assign(new Error('the model computed a logit that is not finite'), { code: 'logits_not_finite' })
  }
}

function adaptersOf({ adapters = [], model: { shape }, engine: { info } }: NativeRunnerOptions) {
  const known = adapters.map(({ name, parts }, place) => {
    const digest = info.adapter_digests?.[place]
    return [name, { place, fingerprint: fingerprintOf(shape, info, { parts, digest }) }] as const
  })
  return new Map(known)
}

function chatTemplateOf({ chat_template, tokenizer }: NativeRunnerOptions['model']): ChatTemplate | null {
  return chat_template ? new ChatTemplate({ ...chat_template, pieces: tokenizer.model.pieces }) : null
}
