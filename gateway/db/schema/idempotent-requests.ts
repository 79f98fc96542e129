// What became of the requests that came with an Idempotency-Key. Bodies are sealed with a key that is not here.

import { integer, pgTable, primaryKey, text, uuid } from 'drizzle-orm/pg-core'
import { bytea, int8, moment, writtenAt } from './column.ts'

export const idempotentRequests = pgTable(
  'idempotent_requests',
  {
    account_id: int8().notNull(), // 0: the operator
    endpoint: text().notNull(),
    key_hash: bytea().notNull(),
    fingerprint: bytea().notNull(),
    request_id: uuid().notNull(), // of the run that holds the key
    lease_until: moment(), // null for a generation, whose reservation tells whether it runs
    status: integer(), // null: no result is kept (yet)
    content_type: text(),
    body: bytea(),
    created_at: writtenAt(),
    expires_at: moment().notNull(),
  },
  (table) => [primaryKey({ columns: [table.account_id, table.endpoint, table.key_hash] })],
)
