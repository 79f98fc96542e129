// The public keys that receipts were ever signed with.

import { pgTable, text } from 'drizzle-orm/pg-core'
import { writtenAt } from './column.ts'

export const receiptKeys = pgTable('receipt_keys', {
  kid: text().primaryKey(),
  x: text().notNull(), // base64url, 32 bytes
  first_noted_at: writtenAt(),
  last_noted_at: writtenAt(),
})
