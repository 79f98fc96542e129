// LoRA adapters over the models, as an operator made them known.

import { boolean, pgTable, text } from 'drizzle-orm/pg-core'
import { accounts } from './accounts.ts'
import { int8, writtenAt } from './column.ts'

export const adapters = pgTable('adapters', {
  id: text().primaryKey(),
  base: text().notNull(),
  account_id: int8().references(() => accounts.id), // null: everybody's
  follows_prices: boolean().notNull().default(true),
  created_at: writtenAt(),
})
