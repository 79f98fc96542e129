// Files of an account.

import { and, asc, desc, eq, gt, lt } from 'drizzle-orm'
import { filesView as files } from '../schema/read.ts'
import type { Page, ReadDb } from './read-db.ts'

interface OfAccount extends Page {
  account_id: string
  purpose?: string | undefined
  order: 'asc' | 'desc'
}

export function listFiles(db: ReadDb, { account_id, purpose, order, limit, after }: OfAccount) {
  const [direction, beyond] = order === 'asc' ? [asc, gt] : [desc, lt]
  return db
    .select()
    .from(files)
    .where(
      and(
        eq(files.account_id, BigInt(account_id)),
        purpose === undefined ? undefined : eq(files.purpose, purpose as 'batch'),
        after === undefined ? undefined : beyond(files.id, BigInt(after)),
      ),
    )
    .orderBy(direction(files.id))
    .limit(limit + 1)
}
