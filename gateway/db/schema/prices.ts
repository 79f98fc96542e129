// The price book. A version is never changed.

import { integer, pgTable, primaryKey, text } from 'drizzle-orm/pg-core'
import { accounts } from './accounts.ts'
import { int8, moment, writtenAt } from './column.ts'

export const prices = pgTable(
  'prices',
  {
    model: text().notNull(),
    version: integer().notNull(),
    input_nanousd_per_token: int8().notNull(),
    output_nanousd_per_token: int8().notNull(),
    valid_from: writtenAt(),
    cached_input_nanousd_per_token: int8().notNull(),
    account_id: int8().references(() => accounts.id), // null: the list price
    valid_until: moment(),
    published_at: writtenAt(),
    service_tier: text({ enum: ['default', 'flex'] })
      .notNull()
      .default('default'),
  },
  (table) => [primaryKey({ columns: [table.model, table.version] })],
)
