// What usage may charge whose reservation a crash lost, and since when none was lost.

import { boolean, customType, pgTable } from 'drizzle-orm/pg-core'
import { int8, writtenAt } from './column.ts'

const oid = customType<{ data: number }>({ dataType: () => 'oid' })

/** One row, which the owner of the database may change. */
export const lateLimits = pgTable('late_limits', {
  only_row: boolean().primaryKey().default(true),
  request_nanousd_max: int8().notNull().default(20_000_000_000n),
  account_nanousd_max: int8().notNull().default(1_000_000_000_000n),
})

/** One row, or none after a crash. */
export const ledgerLife = pgTable('ledger_life', {
  only_row: boolean().primaryKey().default(true),
  database_number: oid().notNull(),
  began_at: writtenAt(),
})
