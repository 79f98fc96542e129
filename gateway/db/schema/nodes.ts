// Which nodes serve what, as they last said themselves.

import { integer, pgTable, text } from 'drizzle-orm/pg-core'
import { moment } from './column.ts'

export const nodes = pgTable('nodes', {
  id: text().primaryKey(),
  url: text().notNull(),
  model: text().notNull(),
  state: text({ enum: ['ready', 'draining'] }).notNull(),
  context_tokens: integer().notNull(),
  running: integer().notNull(),
  waiting: integer().notNull(),
  blocks_total: integer().notNull(),
  blocks_free: integer().notNull(),
  last_seen_at: moment().notNull(),
})
