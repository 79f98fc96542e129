// Batches: asked for by keys of their account, and brought on step by step.

import * as z from 'zod'
import * as shown from '../../../contract/public/batch.ts'
import { count, id, moment, uuid } from '../../../contract/public/scalar.ts'
import { caller, keyHash, keyRefusals, page } from './asker.ts'

const batch = z.strictObject({
  id,
  endpoint: shown.batchEndpoint,
  model: z.string().nullable(),
  errors: z.array(shown.batchFault),
  input_file_id: id,
  state: shown.batchState,
  metadata: z.record(z.string(), z.string()).nullable(),
  output_file_id: id.nullable(),
  error_file_id: id.nullable(),
  request_counts: shown.batch.shape.request_counts,
  usage: z.strictObject({ prompt_tokens: count, cached_tokens: count, completion_tokens: count }),
  created_at: moment,
  in_progress_at: moment.nullable(),
  expires_at: moment,
  finalizing_at: moment.nullable(),
  completed_at: moment.nullable(),
  failed_at: moment.nullable(),
  expired_at: moment.nullable(),
  cancelling_at: moment.nullable(),
  cancelled_at: moment.nullable(),
})

const allowed = z.strictObject({ decision: z.literal('allowed'), batch })
const named = { ...caller, batch_id: id }

export const create_batch = {
  item: z.strictObject({
    ...caller,
    created_by: uuid,
    input_file_id: id,
    endpoint: shown.batchEndpoint,
    metadata: z.record(z.string(), z.string()).nullable(),
    output_expires_after_s: z.int(),
  }),
  answer: z.discriminatedUnion('decision', [
    z.strictObject({ decision: z.literal('created'), batch }),
    z.strictObject({ decision: z.enum([...keyRefusals, 'unknown_file', 'too_many_batches']) }),
  ]),
}

export const read_batch = {
  item: z.strictObject(named),
  answer: z.discriminatedUnion('decision', [
    allowed,
    z.strictObject({ decision: z.enum([...keyRefusals, 'not_found']) }),
  ]),
}

export const list_batches = {
  item: z.strictObject({ ...caller, ...page }),
  answer: z.discriminatedUnion('decision', [
    z.strictObject({ decision: z.literal('allowed'), batches: z.array(batch) }),
    z.strictObject({ decision: z.enum(keyRefusals) }),
  ]),
}

export const cancel_batch = {
  item: z.strictObject(named),
  answer: z.discriminatedUnion('decision', [
    allowed,
    z.strictObject({ decision: z.enum([...keyRefusals, 'not_found', 'batch_has_ended']) }),
  ]),
}

/** Why a line has no answer; without a status nothing was asked. */
const lineRefusal = z.strictObject({
  status_code: z.int().nullable(),
  error: z.looseObject({ code: z.string().nullable(), message: z.string() }),
})

const place = { number: count, begins_at: count, bytes: count }

const claimed = {
  decision: z.literal('claimed'),
  batch_id: id,
  account_id: id,
  endpoint: shown.batchEndpoint,
  parts: z.array(z.strictObject({ id: uuid, begins_at: count, bytes: count })), // of the file that is read
}
const asker = { key_hash: keyHash, address: z.string().nullable() }

export const claim_batch = {
  item: z.strictObject({ lease: uuid, output_part_id: uuid, error_part_id: uuid }),
  answer: z.union([
    z.strictObject({
      ...claimed,
      ...asker,
      step: z.literal('validate'),
      read_bytes: count,
      read_lines: count,
      model: z.string().nullable(),
    }),
    z.strictObject({
      ...claimed,
      ...asker,
      step: z.literal('offer'),
      window_s: z.int(),
      is_flex: z.boolean(), // the model has a price for what can wait
      lines: z.array(z.strictObject({ ...place, job_id: uuid })),
    }),
    z.strictObject({
      ...claimed,
      step: z.literal('write'),
      lines: z.array(
        z.strictObject({
          ...place,
          job_id: uuid,
          refusal: lineRefusal.nullable(),
          request_id: uuid.nullable(),
          status_code: z.int().nullable(),
          result: z.string().nullable(), // sealed
        }),
      ),
    }),
    z.strictObject({ decision: z.literal('none') }),
  ]),
}

const leased = { batch_id: id, lease: uuid }
const noted = z.strictObject({ decision: z.enum(['noted', 'lost']) })

export const note_lines = {
  item: z.strictObject({
    ...leased,
    read_bytes: count,
    read_lines: count,
    model: z.string().nullable(),
    lines: z.array(z.strictObject({ ...place, custom_id_hash: keyHash })),
    errors: z.array(shown.batchFault),
    is_end: z.boolean(),
  }),
  answer: noted,
}

export const note_offers = {
  item: z.strictObject({
    ...leased,
    offered: z.array(count),
    refused: z.array(z.strictObject({ number: count, refusal: lineRefusal })),
    wait_ms: count,
  }),
  answer: noted,
}

const part = z.strictObject({ id: uuid, bytes: count })

export const note_results = {
  item: z.strictObject({ ...leased, numbers: z.array(count), output: part, error: part }),
  answer: noted,
}

export const forget_batches = {
  item: z.strictObject({ count_max: count }),
  answer: z.strictObject({ decision: z.literal('forgotten'), count }),
}
