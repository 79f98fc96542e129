// Nodes: those that an operator registered, with what they last said; what was refused of them; and those that only a gateway of the
// release before knows.

import { bigint, integer, jsonb, pgTable, primaryKey, text, uuid } from 'drizzle-orm/pg-core'
import { int8, moment, writtenAt } from './column.ts'

export const registeredNodes = pgTable('registered_nodes', {
  id: text().primaryKey(),
  url: text().notNull(),
  model: text().notNull(),
  key: text().notNull().unique(), // Ed25519, base64url
  old_key: text(),
  old_key_until: moment(),
  drained_at: moment(),
  created_at: writtenAt(),
  state: text({ enum: ['ready', 'draining', 'stopped'] }), // this and what follows is null until it has said something
  context_tokens: integer(),
  running: integer(),
  waiting: integer(),
  blocks_total: integer(),
  blocks_free: integer(),
  last_seen_at: moment(),
  boot_id: uuid(),
  folder_id: uuid(),
  boot_number: bigint({ mode: 'number' }),
  sequence: bigint({ mode: 'number' }),
  sent_at: moment(),
  report_id: uuid(),
  verifies: text().array().notNull().default([]), // languages
})

export const nodeRefusals = pgTable(
  'node_refusals',
  {
    node_id: text().notNull(),
    reason: text().notNull(),
    count: int8().notNull(),
    first_at: writtenAt(),
    last_at: writtenAt(),
    hour: moment().notNull(),
    count_in_hour: int8().notNull(),
    detail: jsonb().notNull(),
  },
  ({ node_id, reason }) => [primaryKey({ columns: [node_id, reason] })],
)

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
