// Responses that are stored: kept, read again by keys of their account, and forgotten.

import * as z from 'zod'
import { count, id, uuid } from '../../../contract/public/scalar.ts'
import { caller, keyRefusals } from './asker.ts'

const sealed = z.string() // base64

const kind = { kind: z.literal('chat').optional() }
const metadata = z.record(z.string(), z.string())

export const keep_response = {
  item: z.strictObject({
    account_id: id,
    request_id: uuid,
    input: sealed,
    response: sealed,
    account_bytes_max: count, // that those of one account may have together
    ...kind,
    model: z.string().optional(), // of a chat
    metadata: metadata.nullable().optional(), // of a chat
  }),
  answer: z.strictObject({ decision: z.enum(['kept', 'no_room']) }),
}

export const read_responses = {
  item: z.strictObject({ ...caller, request_ids: z.array(uuid), with_input: z.boolean(), ...kind }),
  answer: z.discriminatedUnion('decision', [
    z.strictObject({
      decision: z.literal('allowed'),
      account_id: id,
      responses: z.array(
        z.strictObject({ request_id: uuid, response: sealed, input: sealed.nullable(), metadata: metadata.nullable() }),
      ),
    }),
    z.strictObject({ decision: z.enum(keyRefusals) }),
  ]),
}

export const delete_response = {
  item: z.strictObject({ ...caller, request_id: uuid, ...kind }),
  answer: z.strictObject({ decision: z.enum(['deleted', 'not_found', ...keyRefusals]) }),
}

export const forget_responses = {
  item: z.strictObject({ count_max: count }),
  answer: z.strictObject({ decision: z.literal('forgotten'), count }),
}

const chats = z.discriminatedUnion('decision', [
  z.strictObject({
    decision: z.literal('allowed'),
    account_id: id,
    chats: z.array(z.strictObject({ request_id: uuid, response: sealed, metadata })),
  }),
  z.strictObject({ decision: z.enum(['not_found', ...keyRefusals]) }),
])

export const list_chats = {
  item: z.strictObject({
    ...caller,
    limit: z.int().min(1),
    after: uuid.nullable(),
    order: z.enum(['asc', 'desc']),
    model: z.string().nullable(),
    metadata,
  }),
  answer: chats,
}

export const update_chat = { item: z.strictObject({ ...caller, request_id: uuid, metadata }), answer: chats }
