// Files of accounts, and where their bytes are. The bytes are objects of a bucket, and sealed.

import { integer, pgTable, text, unique, uuid } from 'drizzle-orm/pg-core'
import { accounts } from './accounts.ts'
import { int8, moment, numberedId, writtenAt } from './column.ts'

export const files = pgTable('files', {
  id: numberedId(),
  account_id: int8()
    .notNull()
    .references(() => accounts.id),
  created_by: uuid().notNull().unique(), // the request that made it
  purpose: text({ enum: ['batch', 'batch_output'] })
    .notNull()
    .default('batch'),
  filename: text().notNull().default(''),
  state: text({ enum: ['writing', 'ready', 'deleted'] })
    .notNull()
    .default('writing'),
  bytes: int8().notNull().default(0n),
  bytes_max: int8().notNull(),
  created_at: writtenAt(),
  expires_at: moment().notNull(),
  kept_until: moment(),
})

export const fileParts = pgTable(
  'file_parts',
  {
    id: uuid().primaryKey(), // the name of the object
    file_id: int8().notNull(),
    account_id: int8().notNull(),
    number: integer(),
    begins_at: int8(),
    bytes: integer(),
    created_at: writtenAt(),
  },
  (table) => [unique().on(table.file_id, table.number)],
)
