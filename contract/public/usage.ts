// What requests used and what it cost: one request with the lines of the ledger that belong to it, and the sums of days.

import * as z from 'zod'
import { entryLine } from './entry.ts'
import { serviceTier } from './price.ts'
import { receiptSignature } from './receipt-key.ts'
import { count, day, id, nanousd, uuid } from './scalar.ts'

/** What was tried for an answer that was verified. */
export const verification = z.strictObject({
  language: z.string(),
  passed: z.boolean(),
  candidates: count, // that were begun
  attempts: count,
})

export const usage = z.strictObject({
  object: z.literal('usage'),
  request_id: uuid,
  account_id: id,
  model: z.string(), // that was served, and is charged
  asked_model: z.string().exactOptional(), // the name that was asked for, where that is another
  key_id: id,
  state: z.enum(['pending', 'posted', 'voided', 'expired']),
  metadata: z.record(z.string(), z.string()), // that the request came with
  attempt: z.int().min(1),
  created_unix_s: count,
  reserved_nanousd: nanousd,
  service_tier: serviceTier, // that it was admitted for, and is charged by
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
  // Who counted: our own engine; the engine behind an address, by its own word; or its node, exactly or at least, where that did not say.
  usage_source: z.enum(['engine', 'upstream', 'counted', 'bounded']).nullable(),
  verification: verification.exactOptional(),
  first_token_ms: z.number().nullable(),
  duration_ms: z.number().nullable(),
  cost_nanousd: nanousd.nullable(),
  refunded_nanousd: nanousd,
  net_nanousd: nanousd.nullable(), // the cost, less what was refunded
  entries: z.array(entryLine),
})

/** One request's usage, signed: every field but the signature itself is what was signed. */
export const receipt = usage.extend({ signed_unix_s: count, signature: receiptSignature })

/** Requests of some days, added up; of day, key, model, tag and a name of their metadata those that were asked for. */
export const usageSum = z.strictObject({
  day: day.exactOptional(),
  key_id: id.exactOptional(),
  model: z.string().exactOptional(),
  tag: z.string().exactOptional(), // '' for keys without any
  // The value of the name that was asked for; null for requests without it, and for those whose value is not kept.
  metadata: z.record(z.string(), z.string().nullable()).exactOptional(),
  requests: count,
  prompt_tokens: count,
  cached_tokens: count,
  completion_tokens: count,
  cost_nanousd: nanousd,
  refunded_nanousd: nanousd, // of what was charged then, whenever it came back
  net_nanousd: nanousd,
})

export const usageGroup = z.union([
  z.enum(['day', 'key', 'model', 'tag']),
  z.templateLiteral(['metadata.', z.string().min(1).max(64)]),
])

export const usageReport = z.strictObject({
  object: z.literal('usage_report'),
  from: day,
  to: day, // not included
  group_by: z.array(usageGroup),
  data: z.array(usageSum),
  has_more: z.boolean(),
  // Of a report by metadata: whether the name had more values on a day than are kept.
  is_limited: z.boolean().exactOptional(),
})

export type RequestUsage = z.infer<typeof usage>
export type Receipt = z.infer<typeof receipt>
export type UsageSum = z.infer<typeof usageSum>
export type UsageReport = z.infer<typeof usageReport>
