// The fields that both generation endpoints take, their ranges, and how they and the model's defaults become the node's request.

import * as z from 'zod'
import {
  type GenerateRequest,
  LOGIT_BIAS_MAX,
  type PromptPart,
  type SamplingParameters,
  type Shape,
  STOP_TOKEN_IDS_MAX,
} from '../../contract/internal/generation.ts'
import type { CatalogModel } from '../catalog.ts'
import { ApiError } from '../error.ts'

const STOPS_MAX = 4
const STOP_LENGTH_MAX = 256
const CHOICES_MAX = 128

/** Text a model can be given: no NUL, no half of a surrogate pair. */
export const text = z.string().refine((value) => !value.includes('\0') && value.isWellFormed(), {
  error: 'text may contain neither NUL nor a lone surrogate',
})

const between = (low: number, high: number) => z.number().min(low).max(high).nullish()
const stop = text.min(1).max(STOP_LENGTH_MAX)
const tokenCount = z.int().min(1)

/** What may be a token id; whether a model has it, its node knows. */
export const tokenId = z
  .int()
  .min(0)
  .max(2 ** 31 - 1)

const TOKEN_ID_KEY = /^(0|[1-9]\d{0,8})$/
const logitBias = z
  .record(z.string().regex(TOKEN_ID_KEY, { error: 'expected token ids as keys' }), z.number().min(-100).max(100))
  .refine((bias) => Object.keys(bias).length <= LOGIT_BIAS_MAX, {
    error: `expected at most ${LOGIT_BIAS_MAX} token ids`,
  })

export const generationFields = {
  model: z.string().min(1).max(200),
  n: z.int().min(1).max(8).nullish(),
  max_tokens: tokenCount.nullish(),
  // From the arrival of the request; what there is by then is the answer. It cannot put off the longest a generation may take.
  deadline_ms: z.int().min(1).nullish(),
  stop: z
    .union([stop, z.array(stop).max(STOPS_MAX)], { error: `expected up to ${STOPS_MAX} non-empty strings` })
    .nullish(),
  stop_token_ids: z.array(tokenId).max(STOP_TOKEN_IDS_MAX).nullish(),
  include_stop_str_in_output: z.boolean().nullish(),
  min_tokens: z.int().min(0).nullish(),
  ignore_eos: z.boolean().nullish(),
  logit_bias: logitBias.nullish(),
  stream: z.boolean().nullish(),
  stream_options: z
    .strictObject({ include_usage: z.boolean().nullish(), include_obfuscation: z.boolean().nullish() })
    .nullish(),
  temperature: between(0, 2),
  top_p: z.number().gt(0).max(1).nullish(),
  top_k: z.int().min(0).max(1_000_000).nullish(),
  min_p: between(0, 1),
  repetition_penalty: z.number().gt(0).max(10).nullish(),
  frequency_penalty: between(-2, 2),
  presence_penalty: between(-2, 2),
  // An int64; past 2^53 JavaScript rounds it, which picks another seed but the same one every time.
  seed: z
    .number()
    .refine((value) => Number.isInteger(value) && value >= -(2 ** 63) && value <= 2 ** 63, {
      error: 'expected a 64-bit integer',
    })
    .nullish(),
  // A tag for the caller's own end users. It changes nothing in the answer.
  user: z.string().max(512).nullish(),
}

/**
 * A field of OpenAI's that is not supported: refused by name, except where its value asks for nothing (null, or what its
 * default is), which clients send freely.
 */
export function unsupported(...asksForNothing: unknown[]) {
  const harmless = new Set<string | undefined>(
    [null, undefined, ...asksForNothing].map((value) => JSON.stringify(value)),
  )
  return z
    .unknown()
    .refine((value) => harmless.has(JSON.stringify(value)), { params: { code: 'unsupported_parameter' } })
    .optional()
}

export type GenerationFields = z.infer<z.ZodObject<typeof generationFields>>

export function generateRequest(
  fields: GenerationFields,
  own: {
    model: CatalogModel
    request_id: string
    shape: Shape
    prompts: PromptPart[][]
    logprobs: number | null
    echo?: boolean
  },
): GenerateRequest {
  const { model, request_id, shape, prompts, logprobs } = own
  const n = fields.n ?? 1
  const stream = fields.stream ?? false
  if (fields.stream_options && !stream)
    throw new ApiError('invalid_value', { param: 'stream_options', message: "'stream_options' needs 'stream': true." })
  if (prompts.length * n > CHOICES_MAX)
    throw new ApiError('invalid_value', { param: 'n', message: `Prompts times n may be at most ${CHOICES_MAX}.` })
  return {
    request_id,
    response_id: `${shape === 'chat' ? 'chatcmpl' : 'cmpl'}-${request_id.replaceAll('-', '')}`,
    created_unix_s: Math.floor(Date.now() / 1000),
    model: model.id,
    shape,
    stream,
    include_usage: fields.stream_options?.include_usage ?? false,
    prompts,
    n,
    max_tokens: maxTokens(fields, model),
    min_tokens: minTokens(fields, model),
    max_tokens_is_default: fields.max_tokens == null,
    stop: typeof fields.stop === 'string' ? [fields.stop] : (fields.stop ?? []),
    stop_token_ids: fields.stop_token_ids ?? [],
    include_stop: fields.include_stop_str_in_output ?? false,
    ignore_eos: fields.ignore_eos ?? false,
    logit_bias: Object.entries(fields.logit_bias ?? {}).map(([id, bias]) => [Number(id), bias]),
    logprobs,
    echo: own.echo ?? false,
    sampling: sampling(fields, model),
    priority: 'interactive',
  }
}

function maxTokens({ max_tokens }: GenerationFields, model: CatalogModel): number {
  if (max_tokens == null) return Math.min(model.max_tokens_default, model.context_tokens)
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
    top_k: fields.top_k ?? defaults.top_k,
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
