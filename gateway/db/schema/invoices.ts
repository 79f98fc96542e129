// The month of an account, and its sums by kind, model and price.

import { foreignKey, integer, pgTable, primaryKey, text, unique } from 'drizzle-orm/pg-core'
import { accounts } from './accounts.ts'
import { int8, moment, writtenAt } from './column.ts'

export const invoices = pgTable(
  'invoices',
  {
    account_id: int8()
      .notNull()
      .references(() => accounts.id),
    number: integer().notNull(), // 1, 2, 3 … in its account
    month: moment().notNull(),
    billing_mode: text({ enum: ['prepaid', 'postpaid'] }).notNull(),
    // Its entries are those after `after_sequence` up to `last_sequence`; up to `summed_sequence` they are in the lines.
    after_sequence: int8().notNull(),
    last_sequence: int8().notNull(),
    summed_sequence: int8().notNull(),
    opening_nanousd: int8().notNull(),
    closing_nanousd: int8().notNull(),
    created_at: writtenAt(),
    closed_at: moment(), // null: a draft
  },
  (table) => [primaryKey({ columns: [table.account_id, table.number] }), unique().on(table.account_id, table.month)],
)

export const invoiceLines = pgTable(
  'invoice_lines',
  {
    account_id: int8().notNull(),
    number: integer().notNull(),
    kind: text().notNull(),
    model: text().notNull(), // '' where no model was used
    price_version: integer().notNull(), // 0 where no price was
    count: int8().notNull(),
    prompt_tokens: int8().notNull(),
    cached_tokens: int8().notNull(),
    completion_tokens: int8().notNull(),
    amount_nanousd: int8().notNull(), // what it did to the balance: charges are negative
  },
  (table) => [
    primaryKey({ columns: [table.account_id, table.number, table.kind, table.model, table.price_version] }),
    foreignKey({ columns: [table.account_id, table.number], foreignColumns: [invoices.account_id, invoices.number] }),
  ],
)
