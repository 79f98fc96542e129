// Which migrations were applied.

import { pgTable, text } from 'drizzle-orm/pg-core'
import { writtenAt } from './column.ts'

export const schemaMigrations = pgTable('schema_migrations', {
  name: text().primaryKey(),
  checksum: text().notNull(),
  applied_at: writtenAt(),
})
