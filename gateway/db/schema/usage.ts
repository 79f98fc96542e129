// What happened: a row for each settled request, and the sums of days that reports read, also by the metadata of requests.

import { boolean, date, doublePrecision, integer, jsonb, pgTable, primaryKey, text, uuid } from 'drizzle-orm/pg-core'
import { accounts } from './accounts.ts'
import { int8, moment } from './column.ts'
import { keys } from './keys.ts'

/** Partitioned by month. The partitions are made by a function and are no tables of their own here. */
export const usage = pgTable(
  'usage',
  {
    request_id: uuid().notNull(),
    account_id: int8().notNull(),
    attempt: integer().notNull(),
    prompt_tokens: int8().notNull(),
    cached_tokens: int8().notNull(),
    completion_tokens: int8().notNull(),
    delivered_tokens: int8().notNull(),
    outcome: text().notNull(),
    started_at: moment().notNull(),
    first_token_ms: doublePrecision(),
    duration_ms: doublePrecision().notNull(),
    cost_nanousd: int8().notNull(),
    settled_at: moment().notNull(),
    usage_source: text(), // null where it is our own engine
    verification: jsonb(), // what was tried for it; null where nothing was to be verified
  },
  (table) => [primaryKey({ columns: [table.request_id, table.settled_at] })],
)

export const usageDaily = pgTable(
  'usage_daily',
  {
    account_id: int8()
      .notNull()
      .references(() => accounts.id),
    day: date().notNull(), // of UTC, when it was settled
    key_id: int8()
      .notNull()
      .references(() => keys.id),
    model: text().notNull(),
    price_version: integer().notNull(),
    request_count: int8().notNull(),
    prompt_tokens: int8().notNull(),
    cached_tokens: int8().notNull(),
    completion_tokens: int8().notNull(),
    cost_nanousd: int8().notNull(),
    refunded_nanousd: int8().notNull().default(0n), // of what was charged that day
  },
  (table) => [primaryKey({ columns: [table.account_id, table.day, table.key_id, table.model, table.price_version] })],
)

const counted = {
  request_count: int8().notNull(),
  prompt_tokens: int8().notNull(),
  cached_tokens: int8().notNull(),
  completion_tokens: int8().notNull(),
  cost_nanousd: int8().notNull(),
  refunded_nanousd: int8().notNull().default(0n),
}

export const usageMetadataDaily = pgTable(
  'usage_metadata_daily',
  {
    account_id: int8()
      .notNull()
      .references(() => accounts.id),
    name: text().notNull(),
    day: date().notNull(),
    value: text().notNull(),
    key_id: int8()
      .notNull()
      .references(() => keys.id),
    model: text().notNull(),
    ...counted,
  },
  (table) => [
    primaryKey({ columns: [table.account_id, table.name, table.day, table.value, table.key_id, table.model] }),
  ],
)

export const usageMetadataNames = pgTable(
  'usage_metadata_names',
  {
    account_id: int8()
      .notNull()
      .references(() => accounts.id),
    day: date().notNull(),
    name: text().notNull(), // '' for those beyond the most that a day may have
    row_count: integer().notNull().default(0),
    is_full: boolean().notNull().default(false),
  },
  (table) => [primaryKey({ columns: [table.account_id, table.day, table.name] })],
)
