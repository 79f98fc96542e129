// Credit that ends, which debits it paid, and what came back to it.

import { pgTable, primaryKey } from 'drizzle-orm/pg-core'
import { accounts } from './accounts.ts'
import { int8, moment } from './column.ts'
import { entries } from './entries.ts'

export const grants = pgTable('grants', {
  entry_id: int8()
    .primaryKey()
    .references(() => entries.id), // the entry that gave it
  account_id: int8()
    .notNull()
    .references(() => accounts.id),
  amount_nanousd: int8().notNull(),
  spent_nanousd: int8().notNull().default(0n),
  expired_nanousd: int8().notNull().default(0n),
  expires_at: moment().notNull(),
})

export const grantSpends = pgTable(
  'grant_spends',
  {
    entry_id: int8()
      .notNull()
      .references(() => entries.id), // the debit
    grant_id: int8()
      .notNull()
      .references(() => grants.entry_id),
    amount_nanousd: int8().notNull(),
  },
  (table) => [primaryKey({ columns: [table.entry_id, table.grant_id] })],
)

export const grantReturns = pgTable(
  'grant_returns',
  {
    entry_id: int8()
      .notNull()
      .references(() => entries.id), // the refund
    grant_id: int8()
      .notNull()
      .references(() => grants.entry_id),
    amount_nanousd: int8().notNull(),
  },
  (table) => [primaryKey({ columns: [table.entry_id, table.grant_id] })],
)
