// Batches, in the form that OpenAI's clients read them, and the lines of their files.

import * as z from 'zod'
import { count } from './scalar.ts'

const unix_s = z.int()
const moment = unix_s.nullable()

export const batchEndpoint = z.enum(['/v1/chat/completions', '/v1/completions', '/v1/responses'])

export const batchState = z.enum([
  'validating',
  'failed',
  'in_progress',
  'finalizing',
  'completed',
  'expired',
  'cancelling',
  'cancelled',
])

/** What is wrong with a line, or with the file where `line` is null. */
export const batchFault = z.strictObject({
  line: z.int().nullable(),
  code: z.string(),
  message: z.string(),
  param: z.string().nullable(),
})

export const batch = z.strictObject({
  object: z.literal('batch'),
  id: z.string().regex(/^batch_[1-9]\d*$/),
  endpoint: batchEndpoint,
  model: z.string().nullable(),
  errors: z.strictObject({ object: z.literal('list'), data: z.array(batchFault) }).nullable(),
  input_file_id: z.string(),
  completion_window: z.literal('24h'),
  status: batchState,
  output_file_id: z.string().nullable(),
  error_file_id: z.string().nullable(),
  created_at: unix_s,
  in_progress_at: moment,
  expires_at: unix_s,
  finalizing_at: moment,
  completed_at: moment,
  failed_at: moment,
  expired_at: moment,
  cancelling_at: moment,
  cancelled_at: moment,
  request_counts: z.strictObject({ total: count, completed: count, failed: count }),
  usage: z.strictObject({
    input_tokens: count,
    input_tokens_details: z.strictObject({ cached_tokens: count }),
    output_tokens: count,
    output_tokens_details: z.strictObject({ reasoning_tokens: count }),
    total_tokens: count,
  }),
  metadata: z.record(z.string(), z.string()).nullable(),
})
