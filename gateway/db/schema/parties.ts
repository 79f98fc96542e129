// Who sells, and who buys with an account.

import { boolean, integer, pgTable, text } from 'drizzle-orm/pg-core'
import { accounts } from './accounts.ts'
import { int8, writtenAt } from './column.ts'

/** The last version is in force. */
export const sellers = pgTable('sellers', {
  version: integer().primaryKey().generatedAlwaysAsIdentity(),
  name: text().notNull(),
  address: text().notNull(),
  country: text().notNull(),
  tax_id: text(),
  created_at: writtenAt(),
})

export const buyers = pgTable('buyers', {
  account_id: int8()
    .primaryKey()
    .references(() => accounts.id),
  name: text(), // null: the account's
  address: text(),
  country: text(),
  tax_id: text(),
  tax_name: text().notNull().default('VAT'),
  tax_rate_ppm: integer().notNull().default(0),
  is_reverse_charge: boolean().notNull().default(false),
})
