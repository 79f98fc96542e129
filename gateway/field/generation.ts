// The fields that both generation endpoints take, and their ranges.

import * as z from 'zod'
import { LOGIT_BIAS_MAX, STOP_TOKEN_IDS_MAX } from '../../contract/internal/generation.ts'
import { text } from './text.ts'

const STOPS_MAX = 4
const STOP_LENGTH_MAX = 256

const between = (low: number, high: number) => z.number().min(low).max(high).nullish()
const stop = text.min(1).max(STOP_LENGTH_MAX)
const tokenCount = z.int().min(1)

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

export const generationFields = {
  model: z.string().min(1).max(200),
  n: z.int().min(1).max(8).nullish(),
  max_tokens: tokenCount.nullish(),
  // It counts from the arrival of the request; what there is by then is the answer. It cannot put off the longest a generation may take.
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
    .describe('Not supported: refused, except where it asks for nothing.')
    .optional()
}

export type GenerationFields = z.infer<z.ZodObject<typeof generationFields>>
