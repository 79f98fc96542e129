// Jobs: made, taken by nodes, answered in pieces, ended, read and forgotten.

import * as z from 'zod'
import { count, id, uuid } from '../../../contract/public/scalar.ts'
import { caller, keyRefusals } from './asker.ts'

const sealed = z.string() // base64

/** What `admit` is asked with when a node takes it, but for who asks, the limits and the time. */
const admission = z.strictObject({
  prompt_tokens_max: count,
  request_output_tokens_max: count,
  choices: z.int().min(1),
  metadata: z.record(z.string(), z.string()).optional(),
  asked_model: z.string().optional(),
  alias: z.string().optional(),
  service_tier: z.literal('flex').optional(),
  verify: z.string().optional(),
})

/** What a caller is told of why it failed. */
const error = z.strictObject({
  message: z.string(),
  type: z.string(),
  param: z.string().nullable(),
  code: z.string().nullable(),
})

const usage = z.strictObject({ prompt_tokens: count, cached_tokens: count, completion_tokens: count })

export const create_job = {
  item: z.strictObject({
    ...caller,
    job_id: uuid,
    kind: z.enum(['response', 'batch']),
    owner: z.string().optional(),
    model: z.string(),
    admission,
    request: sealed,
    input: sealed.nullable(),
    head: sealed.nullable(),
    window_s: z.int().min(1),
    account_bytes_max: count, // that the requests of one account's own responses may have together
  }),
  answer: z.strictObject({
    decision: z.enum([
      'created',
      'closed',
      'model_not_allowed',
      'no_price',
      'no_flex_price',
      'insufficient_quota',
      'too_many_jobs',
      ...keyRefusals,
    ]),
  }),
}

const speaking = { node_id: z.string(), key: z.string() }

export const take_job = {
  item: z.strictObject({ ...speaking, take_id: uuid, sent_unix_ms: z.int() }),
  answer: z.discriminatedUnion('decision', [
    z.strictObject({
      decision: z.literal('taken'),
      job_id: uuid,
      request_id: uuid, // of this attempt
      account_id: id,
      kind: z.enum(['response', 'batch']),
      key_hash: z.string(),
      address: z.string().nullable(),
      model: z.string(),
      admission,
      request: sealed,
      chunk_count: count,
      event_count: count,
      stored_length: count,
      stored_sha256: z.string().nullable(),
    }),
    z.strictObject({ decision: z.literal('none') }),
    z.strictObject({ decision: z.enum(['unknown_node_key', 'stale_report']) }),
  ]),
}

const attempt = { ...speaking, job_id: uuid, request_id: uuid }

const chunk = {
  number: count,
  event_count: count,
  text: sealed,
  length: count, // of all that is stored with it
  sha256: z.string(),
  tokens: count.optional(), // whose text is stored with it
}

export const keep_job_chunk = {
  item: z.strictObject({ ...attempt, ...chunk }),
  answer: z.strictObject({ decision: z.enum(['kept', 'lost']) }),
}

export const end_job = {
  item: z.strictObject({
    ...attempt,
    chunk: z.strictObject(chunk).optional(),
    state: z.enum(['completed', 'incomplete']),
    status_code: z.int(),
    usage,
    delivered_tokens: count, // of it, acknowledged before
    result: sealed,
    account_bytes_max: count, // that the stored responses of one account may have together
  }),
  answer: z.strictObject({ decision: z.enum(['ended', 'lost']) }),
}

export const return_job = {
  item: z.strictObject({
    ...attempt,
    delay_ms: count,
    counts: z.boolean(), // as one of the attempts that it may have
    error: error.nullable(),
    status_code: z.int().nullable(),
  }),
  answer: z.strictObject({ decision: z.enum(['returned', 'lost']) }),
}

const state = z.enum(['queued', 'running', 'completed', 'incomplete', 'failed', 'cancelled'])

const report = z.strictObject({
  state,
  error: error.nullable(),
  event_count: count,
  chunk_count: count,
  begun: z.boolean(),
})

const found = z.discriminatedUnion('decision', [
  z.strictObject({
    decision: z.literal('allowed'),
    account_id: id,
    job: report,
    head: sealed.nullable(),
    result: sealed.nullable(),
    input: sealed.nullable().optional(),
  }),
  z.strictObject({ decision: z.enum(['not_found', ...keyRefusals]) }),
])

export const read_job = {
  item: z.strictObject({ ...caller, job_id: uuid, with_input: z.literal(true).optional() }),
  answer: found,
}

export const cancel_job = { item: z.strictObject({ ...caller, job_id: uuid }), answer: found }

export const follow_job = {
  item: z.strictObject({ account_id: id, job_id: uuid, after: count, seen: count, bytes_max: count }),
  answer: z.discriminatedUnion('decision', [
    z.strictObject({
      decision: z.literal('followed'),
      job: report,
      chunks: z.array(z.strictObject({ number: count, event_count: count, text: sealed })),
    }),
    z.strictObject({ decision: z.literal('not_found') }),
  ]),
}

export const tend_jobs = {
  item: z.strictObject({ count_max: count }),
  answer: z.strictObject({ decision: z.literal('tended'), count }),
}
