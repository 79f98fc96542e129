// Which ledger a database is.

import { boolean, pgTable, uuid } from 'drizzle-orm/pg-core'

export const ledgerIdentity = pgTable('ledger_identity', {
  is_only: boolean().primaryKey().default(true),
  id: uuid().notNull().defaultRandom(),
})
