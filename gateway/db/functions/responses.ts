// Responses that are stored: kept, read again by keys of their account, and forgotten.

import * as z from 'zod'
import { count, id, uuid } from '../../../contract/public/scalar.ts'
import { caller, keyRefusals } from './asker.ts'

const sealed = z.string() // base64

export const keep_response = {
  item: z.strictObject({
    account_id: id,
    request_id: uuid,
    input: sealed,
    response: sealed,
    account_bytes_max: count, // that those of one account may have together
  }),
  answer: z.strictObject({ decision: z.enum(['kept', 'no_room']) }),
}

export const read_responses = {
  item: z.strictObject({ ...caller, request_ids: z.array(uuid), with_input: z.boolean() }),
  answer: z.discriminatedUnion('decision', [
    z.strictObject({
      decision: z.literal('allowed'),
      account_id: id,
      responses: z.array(z.strictObject({ request_id: uuid, response: sealed, input: sealed.nullable() })),
    }),
    z.strictObject({ decision: z.enum(keyRefusals) }),
  ]),
}

export const delete_response = {
  item: z.strictObject({ ...caller, request_id: uuid }),
  answer: z.strictObject({ decision: z.enum(['deleted', 'not_found', ...keyRefusals]) }),
}

export const forget_responses = {
  item: z.strictObject({ count_max: count }),
  answer: z.strictObject({ decision: z.literal('forgotten'), count }),
}
