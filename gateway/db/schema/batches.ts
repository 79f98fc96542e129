// Batches, and where each line of one stands in its file, and how far it is.

import { sql } from 'drizzle-orm'
import { boolean, inet, integer, jsonb, pgTable, primaryKey, text, unique, uuid } from 'drizzle-orm/pg-core'
import { accounts } from './accounts.ts'
import { bytea, int8, moment, numberedId, writtenAt } from './column.ts'

export const batches = pgTable('batches', {
  id: numberedId(),
  account_id: int8()
    .notNull()
    .references(() => accounts.id),
  key_id: int8().notNull(),
  address: inet(),
  created_by: uuid().notNull().unique(), // the request that made it
  endpoint: text().notNull(),
  input_file_id: int8().notNull(),
  metadata: jsonb(),
  output_expires_after_s: integer().notNull(),
  state: text({
    enum: ['validating', 'failed', 'in_progress', 'finalizing', 'completed', 'expired', 'cancelling', 'cancelled'],
  })
    .notNull()
    .default('validating'),
  created_at: writtenAt(),
  in_progress_at: moment(),
  expires_at: moment().notNull(),
  finalizing_at: moment(),
  completed_at: moment(),
  failed_at: moment(),
  expired_at: moment(),
  cancelling_at: moment(),
  cancelled_at: moment(),
  read_bytes: int8().notNull().default(0n),
  read_lines: integer().notNull().default(0),
  model: text(),
  errors: jsonb().notNull().default([]),
  output_file_id: int8(),
  error_file_id: int8(),
  completed_lines: integer().notNull().default(0),
  failed_lines: integer().notNull().default(0),
  has_lines: boolean().notNull().default(false),
  prompt_tokens: int8().notNull().default(0n),
  cached_tokens: int8().notNull().default(0n),
  completion_tokens: int8().notNull().default(0n),
  lease: uuid(),
  leased_until: moment(),
  due_at: moment().notNull().default(sql`clock_timestamp()`),
})

export const batchLines = pgTable(
  'batch_lines',
  {
    batch_id: int8().notNull(),
    number: integer().notNull(),
    begins_at: int8().notNull(),
    bytes: integer().notNull(),
    custom_id_hash: bytea().notNull(),
    job_id: uuid().notNull().default(sql`gen_random_uuid()`),
    state: text({ enum: ['waiting', 'offered', 'done', 'written'] })
      .notNull()
      .default('waiting'),
    refusal: jsonb(),
  },
  (table) => [
    primaryKey({ columns: [table.batch_id, table.number] }),
    unique().on(table.batch_id, table.custom_id_hash),
  ],
)
