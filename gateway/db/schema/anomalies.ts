// What should never happen and did: kept for a person to read, charged to nobody.

import { jsonb, pgTable, text, uuid } from 'drizzle-orm/pg-core'
import { numberedId, writtenAt } from './column.ts'

export const anomalies = pgTable('anomalies', {
  id: numberedId(),
  request_id: uuid().notNull(),
  kind: text().notNull(),
  detail: jsonb().notNull(),
  created_at: writtenAt(),
})
