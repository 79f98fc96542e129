// What a request with an Idempotency-Key is known by, and why it may not run, or not again.

import * as z from 'zod'
import { uuid } from '../../../contract/public/scalar.ts'
import { keyHash } from './asker.ts'

export const wish = z.strictObject({
  endpoint: z.string(),
  key_hash: keyHash, // of the Idempotency-Key, hex
  fingerprint: keyHash,
  fingerprint_before: keyHash.optional(), // by the secret that was in use before
})

/** A result that is kept is named, and fetched by itself. Without this a gateway of an earlier release is given all of it at once. */
export const byId = { results_by_id: z.literal(true).optional() }

export const verdicts = [
  z.strictObject({ decision: z.enum(['idempotency_mismatch', 'idempotency_running']) }),
  z.strictObject({ decision: z.literal('idempotency_lost'), request_id: uuid }),
  z.strictObject({
    decision: z.literal('kept'),
    account_id: z.string(), // '0' for the operator's
    request_id: uuid,
  }),
] as const
