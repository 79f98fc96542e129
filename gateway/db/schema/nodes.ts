// Which nodes serve what, as they last said themselves.

import { integer, pgTable, text, uuid } from 'drizzle-orm/pg-core'
import { int8, moment } from './column.ts'

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

/** How far the ledger has counted each node's journal. */
export const journals = pgTable('journals', {
  id: uuid().primaryKey(),
  settled_count: int8().notNull(),
  told_mark: int8().notNull(),
  resending: text({ enum: ['due', 'running'] }),
  behind_at: moment(),
})
