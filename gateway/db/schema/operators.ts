// Who runs the service, the keys they come with, and what they changed.

import { type AnyPgColumn, jsonb, pgTable, text, uuid } from 'drizzle-orm/pg-core'
import { bytea, int8, moment, numberedId, writtenAt } from './column.ts'

export const operators = pgTable('operators', {
  id: numberedId(),
  name: text().notNull(),
  role: text({ enum: ['read', 'support', 'finance', 'owner'] }).notNull(),
  created_at: writtenAt(),
  created_by: uuid().notNull().unique(), // the request that made it
  ended_at: moment(),
})

/** The key itself is never stored. */
export const operatorKeys = pgTable('operator_keys', {
  id: numberedId(),
  operator_id: int8()
    .notNull()
    .references(() => operators.id),
  hash: bytea().notNull().unique(), // sha256
  prefix: text().notNull(),
  last_four: text().notNull(),
  created_at: writtenAt(),
  expires_at: moment(),
  revoked_at: moment(),
  last_used_at: moment(),
  rotated_from: int8().references((): AnyPgColumn => operatorKeys.id),
})

/** Never changed. */
export const audit = pgTable('audit', {
  id: numberedId(),
  created_at: writtenAt(),
  operator_id: int8().references(() => operators.id), // null: the key that the deployment was given
  operator_name: text().notNull(),
  operator_key_id: int8().references(() => operatorKeys.id),
  address: text(),
  request_id: uuid().notNull(),
  action: text().notNull(),
  account_id: int8(),
  subject: text().notNull(),
  before: jsonb(),
  after: jsonb(),
})
