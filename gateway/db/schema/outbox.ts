// Events for customers, written in the statement that caused them, as the bytes that are sent; and those that are told once.

import { date, pgTable, primaryKey, text } from 'drizzle-orm/pg-core'
import { accounts } from './accounts.ts'
import { int8, moment, numberedId, writtenAt } from './column.ts'
import { keys } from './keys.ts'

export const outbox = pgTable('outbox', {
  id: numberedId(),
  account_id: int8()
    .notNull()
    .references(() => accounts.id),
  type: text().notNull(),
  created_at: writtenAt(),
  body: text().notNull(),
})

export const keyNotices = pgTable(
  'key_notices',
  {
    key_id: int8()
      .notNull()
      .references(() => keys.id),
    expires_at: moment().notNull(),
  },
  (table) => [primaryKey({ columns: [table.key_id, table.expires_at] })],
)

export const spendCapNotices = pgTable(
  'spend_cap_notices',
  {
    account_id: int8()
      .notNull()
      .references(() => accounts.id),
    key_id: int8().notNull(), // 0: the account's
    month: date().notNull(),
    cap_nanousd: int8().notNull(),
  },
  (table) => [primaryKey({ columns: [table.account_id, table.key_id, table.month, table.cap_nanousd] })],
)
