// Held money: pending, then posted, voided or expired, once.

import { integer, jsonb, pgTable, text, uuid } from 'drizzle-orm/pg-core'
import { int8, moment, writtenAt } from './column.ts'

export const reservations = pgTable('reservations', {
  request_id: uuid().primaryKey(),
  account_id: int8().notNull(),
  key_id: int8().notNull(),
  model: text().notNull(),
  price_version: integer().notNull(),
  amount_nanousd: int8().notNull(),
  attempt: integer().notNull(), // the one that may settle
  state: text({ enum: ['pending', 'posted', 'voided', 'expired'] }).notNull(),
  created_at: writtenAt(),
  expires_at: moment().notNull(),
  closed_at: moment(),
  charged_tokens_max: int8().notNull().default(0n), // what tokens per minute were charged with at admission
  stopped_at: moment(), // its key was revoked while it ran
  settled_at: moment(),
  restored_at: moment(), // made again from its ticket
  asked_model: text(), // by what name its model was asked for, where that is another
  metadata: jsonb().$type<Record<string, string>>(), // that its caller gave it
})
