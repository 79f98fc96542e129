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

export const verdicts = [
  z.strictObject({ decision: z.enum(['idempotency_mismatch', 'idempotency_running']) }),
  z.strictObject({ decision: z.literal('idempotency_lost'), request_id: uuid }),
  z.strictObject({
    decision: z.literal('replay'),
    account_id: z.string(), // '0' for the operator's
    request_id: uuid,
    status: z.int(),
    content_type: z.string(),
    body: z.string(), // base64, as it was sealed
  }),
] as const
