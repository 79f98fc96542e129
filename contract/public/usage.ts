// What requests used and what it cost: one request with the lines of the ledger that belong to it, and the sums of days.

import * as z from 'zod'
import { entryLine } from './entry.ts'
import { receiptSignature } from './receipt-key.ts'
import { count, day, id, nanousd, uuid } from './scalar.ts'

export const usage = z.strictObject({
  object: z.literal('usage'),
  request_id: uuid,
  account_id: id,
  model: z.string(),
  key_id: id,
  state: z.enum(['pending', 'posted', 'voided', 'expired']),
  attempt: z.int().min(1),
  created_unix_s: count,
  reserved_nanousd: nanousd,
  price_version: z.int().min(1),
  input_nanousd_per_token: nanousd,
  cached_input_nanousd_per_token: nanousd,
  output_nanousd_per_token: nanousd,
  // Null until the request's node has reported.
  prompt_tokens: count.nullable(),
  cached_tokens: count.nullable(),
  completion_tokens: count.nullable(),
  delivered_tokens: count.nullable(),
  outcome: z.enum(['stop', 'length', 'client_gone', 'node_lost', 'deadline', 'revoked', 'error']).nullable(),
  first_token_ms: z.number().nullable(),
  duration_ms: z.number().nullable(),
  cost_nanousd: nanousd.nullable(),
  refunded_nanousd: nanousd,
  net_nanousd: nanousd.nullable(), // the cost, less what was refunded
  entries: z.array(entryLine),
})

/** One request's usage, signed: every field but the signature itself is what was signed. */
export const receipt = usage.extend({ signed_unix_s: count, signature: receiptSignature })

/** Requests of some days, added up; of day, key, model and tag those that were asked for. */
export const usageSum = z.strictObject({
  day: day.exactOptional(),
  key_id: id.exactOptional(),
  model: z.string().exactOptional(),
  tag: z.string().exactOptional(), // '' for keys without any
  requests: count,
  prompt_tokens: count,
  cached_tokens: count,
  completion_tokens: count,
  cost_nanousd: nanousd,
  refunded_nanousd: nanousd, // of what was charged then, whenever it came back
  net_nanousd: nanousd,
})

export const usageGroup = z.enum(['day', 'key', 'model', 'tag'])

export const usageReport = z.strictObject({
  object: z.literal('usage_report'),
  from: day,
  to: day, // not included
  group_by: z.array(usageGroup),
  data: z.array(usageSum),
  has_more: z.boolean(),
})

export type RequestUsage = z.infer<typeof usage>
export type Receipt = z.infer<typeof receipt>
export type UsageSum = z.infer<typeof usageSum>
