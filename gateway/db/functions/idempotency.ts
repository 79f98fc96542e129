// Requests that came with an Idempotency-Key: claimed, their results kept, and answered again.

import * as z from 'zod'
import { count, uuid } from '../../../contract/public/scalar.ts'
import { asked, keyRefusals } from './asker.ts'
import { byId, verdicts, wish } from './verdict.ts'

const claimed = { account_id: z.string(), request_id: uuid }

export const claim_request = {
  item: asked({ idempotency: wish, request_id: uuid, lease_ms: count, scope: z.string().optional(), ...byId }, {}),
  answer: z.discriminatedUnion('decision', [
    z.strictObject({ decision: z.literal('claimed'), ...claimed }),
    z.strictObject({ decision: z.enum(keyRefusals) }),
    ...verdicts,
  ]),
}

export const keep_result = {
  item: z.strictObject({
    ...claimed,
    idempotency: wish,
    status: z.int(),
    content_type: z.string(),
    body: z.string(),
    account_bytes_max: count.optional(), // that the results of one account may have together
  }),
  answer: z.strictObject({ decision: z.enum(['kept', 'superseded', 'no_room']) }),
}

export const read_result = {
  item: z.strictObject({ ...claimed, idempotency: wish }),
  answer: z.discriminatedUnion('decision', [
    z.strictObject({
      decision: z.literal('kept'),
      status: z.int(),
      content_type: z.string(),
      body: z.string(), // base64, as it was sealed
    }),
    z.strictObject({ decision: z.literal('gone') }),
  ]),
}

export const release_request = {
  item: z.strictObject({ ...claimed, idempotency: wish, forget: z.boolean() }),
  answer: z.strictObject({ decision: z.literal('released') }),
}

export const forget_requests = {
  item: z.strictObject({ count_max: count, bytes_max: count.optional() }),
  answer: z.strictObject({ decision: z.literal('forgotten'), count }),
}
