// What an operator changed: who, what, before, after, when and from where.

import * as z from 'zod'
import { id, moment, uuid } from './scalar.ts'

export const auditRecord = z.strictObject({
  object: z.literal('audit_record'),
  id,
  created_at: moment,
  operator_id: id.nullable(), // null: the key that the deployment was given
  operator_name: z.string(), // as it was then
  operator_key_id: id.nullable(),
  address: z.string().nullable(),
  request_id: uuid,
  action: z.string(),
  account_id: id.nullable(),
  subject: z.string(), // what was changed, as 'key 12'
  // The fields that differ; null where there was nothing.
  before: z.record(z.string(), z.unknown()).nullable(),
  after: z.record(z.string(), z.unknown()).nullable(),
})

export type AuditRecord = z.infer<typeof auditRecord>
