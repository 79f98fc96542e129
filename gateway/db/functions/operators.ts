// Who runs the service, and the keys they come with.

import * as z from 'zod'
import * as shown from '../../../contract/public/operator.ts'
import { count, id, uuid } from '../../../contract/public/scalar.ts'
import { operator as asking, keyHash } from './asker.ts'

const operator = shown.operator.omit({ object: true })
const key = shown.operatorKey.omit({ object: true })

/** A new key as it is stored. */
const stored = { hash: keyHash, prefix: z.string(), last_four: z.string(), expires_at: z.string().nullable() }

export const identify_operator = {
  item: z.strictObject({ key_hash: keyHash }),
  answer: z.discriminatedUnion('decision', [
    z.strictObject({
      decision: z.literal('allowed'),
      operator_id: id,
      key_id: id,
      name: z.string(),
      role: shown.role,
      key,
    }),
    z.strictObject({ decision: z.literal('unknown_operator') }),
  ]),
}

export const create_operator = {
  item: z.strictObject({ ...asking, name: z.string(), role: shown.role, created_by: uuid }),
  answer: z.discriminatedUnion('decision', [
    z.strictObject({ decision: z.literal('created'), operator }),
    z.strictObject({ decision: z.literal('name_taken') }),
  ]),
}

export const update_operator = {
  item: z.strictObject({
    ...asking,
    operator_id: id,
    fields: z.strictObject({ name: z.string(), role: shown.role }).partial(),
  }),
  answer: z.discriminatedUnion('decision', [
    z.strictObject({ decision: z.literal('allowed'), operator }),
    z.strictObject({ decision: z.enum(['not_found', 'name_taken']) }),
  ]),
}

export const end_operator = {
  item: z.strictObject({ ...asking, operator_id: id }),
  answer: z.discriminatedUnion('decision', [
    z.strictObject({ decision: z.literal('allowed'), operator }),
    z.strictObject({ decision: z.literal('not_found') }),
  ]),
}

export const create_operator_key = {
  item: z.strictObject({ ...asking, operator_id: id, ...stored }),
  answer: z.discriminatedUnion('decision', [
    z.strictObject({ decision: z.literal('created'), key }),
    z.strictObject({ decision: z.enum(['not_found', 'too_many_keys']) }),
  ]),
}

export const rotate_operator_key = {
  item: z.strictObject({ ...asking, key_id: id, overlap_s: count, ...stored }),
  answer: z.discriminatedUnion('decision', [
    z.strictObject({ decision: z.literal('created'), key }),
    z.strictObject({ decision: z.enum(['not_found', 'already_revoked']) }),
  ]),
}

export const revoke_operator_key = {
  item: z.strictObject({ ...asking, key_id: id }),
  answer: z.discriminatedUnion('decision', [
    z.strictObject({ decision: z.literal('revoked'), key }),
    z.strictObject({ decision: z.literal('not_found') }),
  ]),
}
