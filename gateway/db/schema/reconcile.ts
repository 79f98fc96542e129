// What reconciling knows and found.

import { boolean, jsonb, numeric, pgTable, text } from 'drizzle-orm/pg-core'
import { accounts } from './accounts.ts'
import { int8, moment, numberedId, writtenAt } from './column.ts'

export const ledgerCheckpoints = pgTable('ledger_checkpoints', {
  account_id: int8()
    .primaryKey()
    .references(() => accounts.id),
  sequence: int8().notNull(), // all entries up to this one are in the sums
  credited_nanousd: int8().notNull(),
  debited_nanousd: int8().notNull(),
  late_nanousd: int8().notNull(),
  charge_count: int8().notNull(),
  charged_nanousd: int8().notNull(),
  refunded_nanousd: int8().notNull(),
})

export const ledgerFindings = pgTable('ledger_findings', {
  id: numberedId(),
  check_name: text().notNull(),
  account_id: int8(),
  drift_nanousd: numeric().notNull(),
  detail: jsonb().notNull(),
  found_at: writtenAt(),
})

/** One row: when the last passes ended and began. */
export const ledgerPasses = pgTable('ledger_passes', {
  only_row: boolean().primaryKey().default(true),
  checked_at: moment(),
  usage_checked_until: writtenAt(),
  started_anew_at: writtenAt(),
})
