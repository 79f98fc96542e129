// The keys of an account, the newest first, those that were revoked among them.

import { and, desc, eq, lt } from 'drizzle-orm'
import { keysView as keys } from '../schema/read.ts'
import type { Page, ReadDb } from './read-db.ts'

export function listKeys(db: ReadDb, { account_id, limit, after }: Page & { account_id: string }) {
  const before = after === undefined ? undefined : lt(keys.id, BigInt(after))
  return db
    .select()
    .from(keys)
    .where(and(eq(keys.account_id, BigInt(account_id)), before))
    .orderBy(desc(keys.id))
    .limit(limit + 1)
}
