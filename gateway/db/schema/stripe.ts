// What goes to Stripe and comes from it, beside the top-ups that its payments become.

import { sql } from 'drizzle-orm'
import { boolean, integer, pgTable, primaryKey, text, uuid } from 'drizzle-orm/pg-core'
import { accounts } from './accounts.ts'
import { int8, moment, writtenAt } from './column.ts'

/** Refunds and disputes of payments. */
export const stripeReversals = pgTable('stripe_reversals', {
  reference: text().primaryKey(),
  payment: text().notNull(),
  amount_nanousd: int8().notNull(),
  returned: boolean().notNull(),
  debited_at: moment(),
  credited_at: moment(),
  created_at: writtenAt(),
})

/** How far the usage of a postpaid account has become meter events, and whose customer pays for it. */
export const stripeMetering = pgTable('stripe_metering', {
  account_id: int8()
    .primaryKey()
    .references(() => accounts.id),
  last_sequence: int8().notNull(),
  collected_until: moment().notNull(), // always a full hour
  customer_id: text().notNull(),
})

export const stripeMeterEvents = pgTable(
  'stripe_meter_events',
  {
    account_id: int8()
      .notNull()
      .references(() => accounts.id),
    hour: moment().notNull(),
    revision: integer().notNull(),
    is_correction: boolean().notNull().default(false),
    value_nanousd: int8().notNull(),
    state: text({ enum: ['new', 'attempted', 'sent', 'rejected'] })
      .notNull()
      .default('new'),
    attempt: integer().notNull().default(0),
    first_attempt_at: moment(),
    next_attempt_at: writtenAt(),
    error: text(),
    reconciled_at: moment(),
    created_at: writtenAt(),
    customer_id: text(), // null where it was unlinked before this was kept
    identifier: text(), // its name at Stripe, from the first attempt on
  },
  (table) => [primaryKey({ columns: [table.account_id, table.hour, table.revision] })],
)

/** One row: which deployment this is to others. */
export const deployment = pgTable('deployment', {
  only_row: boolean().primaryKey().default(true),
  id: uuid().notNull().default(sql`gen_random_uuid()`),
})
