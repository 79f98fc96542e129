// Responses that can be read again. What was asked and answered is sealed with keys that are not here.

import { jsonb, pgTable, primaryKey, text, uuid } from 'drizzle-orm/pg-core'
import { bytea, int8, moment, writtenAt } from './column.ts'

export const storedResponses = pgTable(
  'stored_responses',
  {
    account_id: int8().notNull(),
    request_id: uuid().notNull(), // of the generation
    input: bytea().notNull(),
    response: bytea().notNull(),
    created_at: writtenAt(),
    expires_at: moment().notNull(),
    kind: text({ enum: ['response', 'chat'] })
      .notNull()
      .default('response'),
    model: text(), // of a chat
    metadata: jsonb().$type<Record<string, string>>(), // of a chat
  },
  (table) => [primaryKey({ columns: [table.account_id, table.request_id] })],
)

/** How many bytes of them an account has. */
export const storedResponseBytes = pgTable('stored_response_bytes', {
  account_id: int8().primaryKey(),
  bytes: int8().notNull(),
})
