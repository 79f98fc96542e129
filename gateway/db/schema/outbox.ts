// Events for customers, written in the statement that caused them and sent from here afterwards.

import { jsonb, pgTable, text } from 'drizzle-orm/pg-core'
import { accounts } from './accounts.ts'
import { int8, moment, numberedId, writtenAt } from './column.ts'

export const outbox = pgTable('outbox', {
  id: numberedId(),
  account_id: int8()
    .notNull()
    .references(() => accounts.id),
  kind: text().notNull(),
  payload: jsonb().notNull(),
  created_at: writtenAt(),
  sent_at: moment(),
})
