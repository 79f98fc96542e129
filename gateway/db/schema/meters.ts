// What an account (key_id 0) and each of its keys has taken of its limits.

import { date, pgTable, primaryKey } from 'drizzle-orm/pg-core'
import { accounts } from './accounts.ts'
import { int8, moment } from './column.ts'

export const meters = pgTable(
  'meters',
  {
    account_id: int8()
      .notNull()
      .references(() => accounts.id),
    key_id: int8().notNull(),
    requests_level: int8().notNull().default(0n),
    tokens_level: int8().notNull().default(0n),
    tokens_per_minute: int8(), // the limit of the last admission, which settle drains the bucket by
    levels_at_us: int8().notNull().default(0n),
    requests_in_flight: int8().notNull().default(0n),
    held_nanousd: int8().notNull().default(0n),
    month: date().notNull().default('1970-01-01'), // the month of UTC in which this was charged:
    charged_nanousd: int8().notNull().default(0n),
    last_used_at: moment(),
  },
  (table) => [primaryKey({ columns: [table.account_id, table.key_id] })],
)
