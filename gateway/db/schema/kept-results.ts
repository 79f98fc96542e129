// How many bytes of kept results (idempotent-requests.ts) an account has.

import { pgTable } from 'drizzle-orm/pg-core'
import { int8 } from './column.ts'

export const keptResults = pgTable('kept_results', {
  account_id: int8().primaryKey(), // 0: the operator
  body_bytes: int8().notNull(),
})
