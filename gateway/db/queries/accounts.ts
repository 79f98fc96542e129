// Accounts, the newest first.

import { desc, lt } from 'drizzle-orm'
import { accountsView as accounts } from '../schema/read.ts'
import type { Page, ReadDb } from './read-db.ts'

export function listAccounts(db: ReadDb, { limit, after }: Page) {
  return db
    .select()
    .from(accounts)
    .where(after === undefined ? undefined : lt(accounts.id, BigInt(after)))
    .orderBy(desc(accounts.id))
    .limit(limit + 1)
}
