// The lines that moved money, numbered within their account and never changed. The direction of an amount is its kind.

import { pgTable, text, unique, uuid } from 'drizzle-orm/pg-core'
import type { EntryKind } from '../../../contract/public/entry.ts'
import { int8, numberedId, writtenAt } from './column.ts'

export const entries = pgTable(
  'entries',
  {
    id: numberedId(),
    account_id: int8().notNull(),
    request_id: uuid(),
    kind: text().$type<EntryKind>().notNull(),
    amount_nanousd: int8().notNull(),
    reference: text(), // the outside's name for it
    created_at: writtenAt(),
    sequence: int8().notNull(),
    note: text(), // an operator's
  },
  (table) => [unique().on(table.account_id, table.sequence)],
)
