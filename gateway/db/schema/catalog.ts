// The versions of the catalog of models, each whole; the last is in force.

import { jsonb, pgTable, text } from 'drizzle-orm/pg-core'
import type { CatalogModel } from '../../../contract/public/catalog.ts'
import { int8, writtenAt } from './column.ts'

export const catalogVersions = pgTable('catalog_versions', {
  version: int8().primaryKey().generatedAlwaysAsIdentity(),
  published_at: writtenAt(),
  source: text({ enum: ['release', 'operator'] }).notNull(),
  models: jsonb().$type<CatalogModel[]>().notNull(),
})
