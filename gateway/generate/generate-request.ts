// How the fields of a body and the defaults of its model become the request that a node gets.

import type {
  Constraint,
  GenerateRequest,
  PromptPart,
  SamplingParameters,
  Shape,
} from '../../contract/internal/generation.ts'
import type { ResponseAsked } from '../../contract/public/responses.ts'
import type { CatalogModel } from '../catalog/catalog.ts'
import { ApiError } from '../error.ts'
import { type GenerationFields, serviceTierOf } from '../field/generation.ts'
import type { Verify } from '../field/verify.ts'
import { type VerifiedPrompt, verification } from './verification.ts'

const CHOICES_MAX = 128

/** What the id of an answer begins with; the request's own follows (field/id.ts). */
const RESPONSE_ID: Record<Shape, string> = {
  chat: 'chatcmpl-',
  completion: 'cmpl-',
  message: 'msg_',
  response: 'resp_',
  score: 'score-',
  rerank: 'rerank-',
}

export function generateRequest(
  fields: GenerationFields & { verify?: Verify | null | undefined },
  own: {
    model: CatalogModel
    request_id: string
    shape: Shape
    prompts: PromptPart[][]
    logprobs: number | null
    echo?: boolean
    ranked?: GenerateRequest['ranked']
    constraint?: Constraint | null
    whole_at_end?: true | undefined
    verified?: VerifiedPrompt | undefined
    asked?: Omit<ResponseAsked, 'temperature' | 'top_p'>
  },
): GenerateRequest {
  const { model, request_id, shape, prompts, logprobs } = own
  const n = fields.n ?? 1
  const service_tier = serviceTierOf(fields)
  const stream = fields.stream ?? false
  if (fields.stream_options && !stream)
    throw new ApiError('invalid_value', { param: 'stream_options', message: "'stream_options' needs 'stream': true." })
  const { include_usage, continuous_usage_stats } = fields.stream_options ?? {}
  if (continuous_usage_stats && !include_usage)
    throw new ApiError('invalid_value', {
      param: 'stream_options.continuous_usage_stats',
      message: "'continuous_usage_stats' needs 'include_usage': true.",
    })
  if (prompts.length * n > CHOICES_MAX)
    throw new ApiError('invalid_value', { param: 'n', message: `Prompts times n may be at most ${CHOICES_MAX}.` })
  const drawn = sampling(fields, model)
  const max_tokens = maxTokens(fields, model)
  return {
    request_id,
    response_id: RESPONSE_ID[shape] + request_id.replaceAll('-', ''),
    created_unix_s: Math.floor(Date.now() / 1000),
    model: model.id,
    shape,
    stream,
    include_usage: include_usage ?? false,
    continuous_usage: continuous_usage_stats || undefined,
    prompts,
    truncate_prompt: truncationOf(fields),
    n,
    max_tokens,
    min_tokens: minTokens(fields, model),
    max_tokens_is_default: givenMaxTokens(fields) === null,
    stop: stopsOf(fields),
    stop_token_ids: fields.stop_token_ids ?? [],
    include_stop: fields.include_stop_str_in_output ?? false,
    ignore_eos: fields.ignore_eos ?? false,
    logit_bias: Object.entries(fields.logit_bias ?? {}).map(([id, bias]) => [Number(id), bias]),
    logprobs,
    echo: own.echo ?? false,
    return_token_ids: fields.return_token_ids || undefined,
    ranked: own.ranked,
    sampling: drawn,
    priority: service_tier === 'flex' ? 'batch' : 'interactive',
    ...(service_tier && { service_tier }),
    prediction: predictionOf(fields),
    whole_at_end: own.whole_at_end,
    ...(own.verified && { verify: verification(fields.verify!, own.verified, { max_tokens, ...model }) }),
    ...(own.constraint && { constraint: own.constraint }),
    ...(own.asked && { asked: { ...own.asked, temperature: drawn.temperature, top_p: drawn.top_p } }),
  }
}

/** A blank field of a form asks for no stop. */
function stopsOf({ stop }: GenerationFields): string[] {
  return [stop ?? []].flat().filter((text) => text !== '')
}

/** Left out where nothing is cut, as are other fields that ask for nothing: a node of the release before does not know them. */
function truncationOf({ truncate_prompt_tokens }: GenerationFields): GenerateRequest['truncate_prompt'] {
  return truncate_prompt_tokens === -1 ? 'to_fit' : (truncate_prompt_tokens ?? undefined)
}

/** Left out where there is none: a node of the release before does not know it. */
function predictionOf({ prediction }: GenerationFields): string | undefined {
  const content = prediction?.content ?? ''
  return (typeof content === 'string' ? content : content.map(({ text }) => text).join('')) || undefined
}

function givenMaxTokens({ max_tokens }: GenerationFields): number | null {
  return max_tokens == null || max_tokens === -1 ? null : max_tokens
}

function maxTokens(fields: GenerationFields, model: CatalogModel): number {
  const max_tokens = givenMaxTokens(fields)
  if (max_tokens === null) return Math.min(model.max_tokens_default, model.context_tokens)
  if (max_tokens <= model.context_tokens) return max_tokens
  throw new ApiError('invalid_value', {
    param: 'max_tokens',
    message: `max_tokens is ${max_tokens}, but the context of ${model.id} is ${model.context_tokens} tokens.`,
  })
}

function minTokens(fields: GenerationFields, model: CatalogModel): number {
  const min_tokens = fields.min_tokens ?? 0
  const max_tokens = maxTokens(fields, model)
  if (min_tokens <= max_tokens) return min_tokens
  throw new ApiError('invalid_value', {
    param: 'min_tokens',
    message: `min_tokens is ${min_tokens}, but max_tokens is ${max_tokens}.`,
  })
}

function sampling(fields: GenerationFields, model: CatalogModel): SamplingParameters {
  const defaults = model.sampling
  return {
    temperature: fields.temperature ?? defaults.temperature,
    top_p: fields.top_p ?? defaults.top_p,
    top_k: fields.top_k === -1 ? 0 : (fields.top_k ?? defaults.top_k),
    min_p: fields.min_p ?? defaults.min_p,
    repetition_penalty: fields.repetition_penalty ?? defaults.repetition_penalty,
    frequency_penalty: fields.frequency_penalty ?? defaults.frequency_penalty,
    presence_penalty: fields.presence_penalty ?? defaults.presence_penalty,
    seed: (fields.seed == null ? drawSeed() : BigInt.asUintN(64, BigInt(fields.seed))).toString(),
  }
}

function drawSeed(): bigint {
  return crypto.getRandomValues(new BigUint64Array(1))[0]!
}
