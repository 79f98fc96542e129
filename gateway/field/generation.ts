// The fields that both generation endpoints take, and their ranges.

import * as z from 'zod'
import { LOGIT_BIAS_MAX, STOP_TOKEN_IDS_MAX, STOPS_MAX } from '../../contract/internal/generation.ts'
import { text } from '../../contract/public/text.ts'
import { askingNothing, hint, unsupported, unusedIn } from './unused.ts'

const STOP_LENGTH_MAX = 256

const between = (low: number, high: number) => z.number().min(low).max(high).nullish()
export const stopText = text.max(STOP_LENGTH_MAX)
// Several clients write "as many as fit" as -1.
const tokenCount = z
  .int()
  .refine((value) => value >= 1 || value === -1, { error: 'expected at least 1, or -1 for no limit' })

const TOKEN_ID_MAX = 2 ** 31 - 1

/** A number that may be a token id; whether a model has it, its node knows. */
export const tokenId = z.int().min(0).max(TOKEN_ID_MAX)

export function isTokenId(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) <= TOKEN_ID_MAX
}

const TOKEN_ID_KEY = /^(0|[1-9]\d{0,8})$/
const logitBias = z
  .record(z.string().regex(TOKEN_ID_KEY, { error: 'expected token ids as keys' }), z.number().min(-100).max(100))
  .refine((bias) => Object.keys(bias).length <= LOGIT_BIAS_MAX, {
    error: `expected at most ${LOGIT_BIAS_MAX} token ids`,
  })

const streamOptions = z
  .object({
    include_usage: z.boolean().nullish(),
    include_obfuscation: z.boolean().nullish(),
    continuous_usage_stats: z.boolean().nullish(), // each chunk tells the usage so far; with include_usage
  })
  .catchall(askingNothing())

const METADATA_PAIRS_MAX = 16

export const metadataValue = text.max(512)

/** For the caller's own reports: it is kept with what the request used. */
export const metadataOf = <V extends z.ZodType>(value: V) =>
  z.record(text.min(1).max(64), value).refine((pairs) => Object.keys(pairs).length <= METADATA_PAIRS_MAX, {
    error: `expected at most ${METADATA_PAIRS_MAX} pairs`,
  })

/** What clients of OpenAI, vLLM and llama.cpp send by default: of caches, of safety, of how an answer is kept or written. */
const hints = {
  moderation: unsupported(),
  prompt_cache_key: hint(),
  prompt_cache_options: hint(),
  prompt_cache_retention: hint(),
  safety_identifier: hint(),
  store: hint(),
  cache_prompt: hint(),
  cache_salt: hint(), // caches are an account's own here
  id_slot: hint(),
  return_progress: hint(),
  skip_special_tokens: hint(true),
  spaces_between_special_tokens: hint(true),
  timings_per_token: hint(),
}

const predictedPart = z.looseObject({ type: z.literal('text'), text })

/** What the caller expects the answer to be: it can make one faster, never another. */
const prediction = z
  .object({ type: z.literal('content'), content: z.union([text, z.array(predictedPart)]) })
  .catchall(askingNothing())

/** Samplers of others, which take part only with another value than this. */
const samplersThatAreOff = {
  typical_p: unsupported(1),
  tfs_z: unsupported(1),
  top_a: unsupported(0),
  mirostat: unsupported(0),
  dry_multiplier: unsupported(0),
  xtc_probability: unsupported(0),
  dynatemp_range: unsupported(0),
  length_penalty: unsupported(1),
}

const TRUNCATED_TO_MAX = 2 ** 24 // far more than any context

export const generationFields = {
  model: z.string().min(1).max(200),
  n: z.int().min(1).max(8).nullish(),
  max_tokens: tokenCount.nullish(),
  // It counts from the arrival of the request; what there is by then is the answer. It cannot put off the longest a generation may take.
  deadline_ms: z.int().min(1).nullish(),
  stop: z
    .union([stopText, z.array(stopText).max(STOPS_MAX)], {
      error: `expected up to ${STOPS_MAX} strings of at most ${STOP_LENGTH_MAX} characters`,
    })
    .nullish(),
  stop_token_ids: z.array(tokenId).max(STOP_TOKEN_IDS_MAX).nullish(),
  include_stop_str_in_output: z.boolean().nullish(),
  min_tokens: z.int().min(0).nullish(),
  // The last so many tokens of a prompt are kept; -1: as many as the context has room for beside max_tokens.
  truncate_prompt_tokens: z
    .int()
    .refine((value) => (value >= 1 && value <= TRUNCATED_TO_MAX) || value === -1, {
      error: `expected 1 to ${TRUNCATED_TO_MAX}, or -1 for what the context has room for`,
    })
    .nullish(),
  return_token_ids: z.boolean().nullish(),
  ignore_eos: z.boolean().nullish(),
  logit_bias: logitBias.nullish(),
  stream: z.boolean().nullish(),
  stream_options: streamOptions.nullish(),
  temperature: between(0, 2),
  top_p: z.number().gt(0).max(1).nullish(),
  top_k: z.int().min(-1).max(1_000_000).nullish(), // 0 and -1 are off
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
  prediction: prediction.nullish(),
  service_tier: z.string().nullish(), // default (auto), or flex; no other is sold
  metadata: metadataOf(metadataValue).nullish(),
  ...hints,
  ...samplersThatAreOff,
}

const TIERS = new Map<string, 'default' | 'flex'>([
  ['auto', 'default'],
  ['default', 'default'],
  ['flex', 'flex'],
])

/** Undefined where none is named, or one that is not sold. */
export function serviceTierOf({ service_tier }: Pick<GenerationFields, 'service_tier'>) {
  return TIERS.get(service_tier ?? '')
}

/** The names of what both endpoints were given and do not use. */
export function unusedFields(
  given: { stream_options?: object | null | undefined; service_tier?: string | null | undefined },
  body: z.ZodObject,
): string[] {
  return [
    ...unusedIn(given, body),
    ...(given.service_tier == null || serviceTierOf(given) ? [] : ['service_tier']),
    ...unusedIn(given.stream_options ?? {}, streamOptions, 'stream_options.'),
  ]
}

export type GenerationFields = z.infer<z.ZodObject<typeof generationFields>>
