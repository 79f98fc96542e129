// Who asks, as items say it: a key by its hash and from where it is used, or the operator. And why a key may be refused.

import * as z from 'zod'
import { id, uuid } from '../../../contract/public/scalar.ts'

/** The sha256 of a key, hex: the key itself goes no further than the worker. */
export const keyHash = z.string().regex(/^[0-9a-f]{2,64}$/)

/** A caller who knows of suspension is told of it; any other that the key is not valid now. */
export const caller = {
  key_hash: keyHash,
  address: z.string().nullable().optional(),
  knows_suspension: z.literal(true).optional(),
}

/** Which operator asks, for the log of what they change. */
export const by = z.strictObject({
  operator_id: id.nullable(), // null: the key that the deployment was given
  key_id: id.nullable(),
  name: z.string(),
  address: z.string().nullable(),
  request_id: uuid,
})
export const operator = { operator: z.literal(true), by: by.optional() }

/** An item that either may ask about. What only the operator has to say is added there. */
export function asked<F extends z.ZodRawShape, O extends z.ZodRawShape>(fields: F, operators: O) {
  return z.union([z.strictObject({ ...caller, ...fields }), z.strictObject({ ...operator, ...fields, ...operators })])
}

export const keyRefusals = [
  'unknown_key',
  'revoked_key',
  'expired_key',
  'address_not_allowed',
  'missing_scope',
  'account_suspended',
] as const

/** A page: `limit` at most, those before `after`. One more than asked for is answered where there are more. */
export const page = { limit: z.int().min(1), after: z.string().nullable().optional() }
