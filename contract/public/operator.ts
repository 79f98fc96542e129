// Who runs the service: an operator has a role and keys of its own.

import * as z from 'zod'
import { id, moment } from './scalar.ts'

/** Each may read; support changes accounts and keys, finance moves money and publishes prices, an owner may do everything. */
export const role = z.enum(['read', 'support', 'finance', 'owner'])

export const operator = z.strictObject({
  object: z.literal('operator'),
  id,
  name: z.string(),
  role,
  created_at: moment,
  ended_at: moment.nullable(),
})

/** A key of an operator as it is shown: everything but what could be used. */
export const operatorKey = z.strictObject({
  object: z.literal('operator_key'),
  id,
  operator_id: id,
  prefix: z.string(),
  last_four: z.string(),
  created_at: moment,
  expires_at: moment.nullable(),
  revoked_at: moment.nullable(),
  last_used_at: moment.nullable(),
  rotated_from: id.nullable(),
})

/** The answer that made a key, which alone has the key itself. */
export const newOperatorKey = operatorKey.extend({ key: z.string() })

/** Who asks. */
export const askingOperator = z.strictObject({
  object: z.literal('asking_operator'),
  name: z.string(),
  role,
  operator_id: id.nullable(), // null: the key that the deployment was given
  key_id: id.nullable(),
})

export type Role = z.infer<typeof role>
export type ShownOperator = z.infer<typeof operator>
export type OperatorKey = z.infer<typeof operatorKey>
