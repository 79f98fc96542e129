// Generations that nobody's connection waits for, and what their streams said. What is asked and answered is sealed with keys that are not here.

import { sql } from 'drizzle-orm'
import { inet, integer, jsonb, pgTable, primaryKey, text, uuid } from 'drizzle-orm/pg-core'
import { bytea, int8, moment, writtenAt } from './column.ts'

export const jobs = pgTable('jobs', {
  id: uuid().primaryKey(),
  account_id: int8().notNull(),
  key_id: int8().notNull(),
  kind: text({ enum: ['response', 'batch'] }).notNull(),
  owner: text().notNull().default(''),
  model: text().notNull(),
  state: text({ enum: ['queued', 'running', 'completed', 'incomplete', 'failed', 'cancelled'] })
    .notNull()
    .default('queued'),
  admission: jsonb().notNull(),
  address: inet(),
  request: bytea(),
  input: bytea(),
  head: bytea(),
  request_id: uuid(), // of the attempt that runs
  attempts: integer().notNull().default(0),
  take_id: uuid(),
  node_id: text(),
  leased_until: moment(),
  chunk_count: integer().notNull().default(0),
  event_count: integer().notNull().default(0),
  stored_length: int8().notNull().default(0n),
  stored_sha256: text(),
  status_code: integer(),
  error: jsonb(),
  usage: jsonb(),
  result: bytea(),
  created_at: writtenAt(),
  due_at: moment().notNull().default(sql`clock_timestamp()`),
  expires_at: moment().notNull(),
  ended_at: moment(),
  seen_tokens: int8().notNull().default(0n), // whose text is in what is stored
})

export const jobChunks = pgTable(
  'job_chunks',
  {
    job_id: uuid().notNull(),
    number: integer().notNull(),
    event_count: integer().notNull(), // of the stream, up to its end
    text: bytea().notNull(),
    created_at: writtenAt(),
  },
  (table) => [primaryKey({ columns: [table.job_id, table.number] })],
)
