// The month of an account, its sums by kind, model and price, and the credit notes that correct it.

import { foreignKey, integer, jsonb, pgTable, primaryKey, text, unique, uuid } from 'drizzle-orm/pg-core'
import type { Party } from '../../../contract/public/tax.ts'
import { accounts } from './accounts.ts'
import { int8, moment, writtenAt } from './column.ts'
import { entries } from './entries.ts'

/** The tax of a document, without its amounts. */
export interface FrozenTax {
  name: string
  rate_ppm: number
  is_reverse_charge: boolean
}

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
    // Frozen when the month was cut.
    seller: jsonb().$type<Party>(),
    buyer: jsonb().$type<Party>(),
    tax: jsonb().$type<FrozenTax>(),
    taxable_nanousd: int8().notNull().default(0n),
    tax_nanousd: int8().notNull().default(0n), // it is in the taxable
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

export const creditNotes = pgTable(
  'credit_notes',
  {
    account_id: int8()
      .notNull()
      .references(() => accounts.id),
    number: integer().notNull(), // 1, 2, 3 … in its account
    invoice_number: integer().notNull(),
    entry_id: int8()
      .notNull()
      .unique()
      .references(() => entries.id),
    request_id: uuid(), // null for an adjustment
    model: text(),
    amount_nanousd: int8().notNull(),
    taxable_nanousd: int8().notNull(), // the rest went back to grants
    tax_nanousd: int8().notNull(),
    seller: jsonb().$type<Party>(),
    buyer: jsonb().$type<Party>().notNull(),
    tax: jsonb().$type<FrozenTax>(),
    created_at: writtenAt(),
  },
  (table) => [
    primaryKey({ columns: [table.account_id, table.number] }),
    foreignKey({
      columns: [table.account_id, table.invoice_number],
      foreignColumns: [invoices.account_id, invoices.number],
    }),
  ],
)
