// What authenticates. The key itself is never stored.

import { type AnyPgColumn, cidr, pgTable, text } from 'drizzle-orm/pg-core'
import { accounts } from './accounts.ts'
import { bytea, int8, moment, numberedId, writtenAt } from './column.ts'

export const keys = pgTable('keys', {
  id: numberedId(),
  account_id: int8()
    .notNull()
    .references(() => accounts.id),
  name: text().notNull(),
  hash: bytea().notNull().unique(), // sha256
  prefix: text().notNull(),
  last_four: text().notNull(),
  scopes: text({ enum: ['generate', 'usage', 'keys', 'webhooks', 'admin'] })
    .array()
    .notNull(),
  models: text().array(), // null: every model
  created_at: writtenAt(),
  expires_at: moment(),
  revoked_at: moment(),
  tags: text().array().notNull().default([]),
  allowed_ips: cidr().array(), // null: from anywhere
  // Null: the account's limit.
  requests_per_minute: int8(),
  tokens_per_minute: int8(),
  requests_in_flight_max: int8(),
  monthly_spend_cap_nanousd: int8(),
  rotated_from: int8().references((): AnyPgColumn => keys.id),
  metered_as: int8().references((): AnyPgColumn => keys.id), // null: as itself
})
