// Who pays, and what the account has, holds and owes.

import { sql } from 'drizzle-orm'
import { bigint, integer, pgTable, text, uuid } from 'drizzle-orm/pg-core'
import { int8, moment, numberedId, writtenAt } from './column.ts'

export const accounts = pgTable('accounts', {
  id: numberedId(),
  name: text().notNull(),
  created_by: uuid().notNull().unique(), // the request that made it
  credited_nanousd: int8().notNull().default(0n),
  debited_nanousd: int8().notNull().default(0n),
  pending_nanousd: int8().notNull().default(0n),
  late_nanousd: int8().notNull().default(0n), // the part of the debited that was settled after its hold had ended
  overdraft_nanousd: int8().notNull().default(0n),
  created_at: writtenAt(),
  // Null: the deployment's limit (wrangler.toml).
  requests_per_minute: int8(),
  tokens_per_minute: int8(),
  requests_in_flight_max: int8(),
  monthly_spend_cap_nanousd: int8(),
  entry_count: int8().notNull().default(0n), // the sequence of its last entry
  billing_mode: text({ enum: ['prepaid', 'postpaid'] })
    .notNull()
    .default('prepaid'),
  alert_percents: integer().array().notNull().default([50, 20, 5]),
  alert_amounts_nanousd: bigint({ mode: 'bigint' }).array().notNull().default([]),
  alert_base_nanousd: int8().notNull().default(0n), // the balance after money last came in
  invoiced_until: moment().notNull().default(sql`date_trunc('month', clock_timestamp(), 'UTC')`),
  stripe_customer_id: text().unique(),
  suspended_at: moment(),
})
