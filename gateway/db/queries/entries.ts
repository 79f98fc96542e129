// The lines of an account's ledger, the newest first.

import { and, desc, eq, lt } from 'drizzle-orm'
import { entriesView as entries } from '../schema/read.ts'
import type { Page, ReadDb } from './read-db.ts'

export function listEntries(db: ReadDb, { account_id, limit, after }: Page & { account_id: string }) {
  const own = eq(entries.account_id, BigInt(account_id))
  // An id is found by its own index, and a place in the account by that of sequences. An entry of another account has no place here.
  const last_seen = db
    .select({ sequence: entries.sequence })
    .from(entries)
    .where(and(own, eq(entries.id, BigInt(after ?? 0))))
  return db
    .select()
    .from(entries)
    .where(and(own, after === undefined ? undefined : lt(entries.sequence, last_seen)))
    .orderBy(desc(entries.sequence))
    .limit(limit + 1)
}
