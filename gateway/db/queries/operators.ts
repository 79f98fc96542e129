// Operators, their keys, and what they changed: the newest first.

import { and, desc, eq, lt } from 'drizzle-orm'
import { auditView as audit, operatorKeysView as keys, operatorsView as operators } from '../schema/read.ts'
import type { Page, ReadDb } from './read-db.ts'

export function listOperators(db: ReadDb, { limit, after }: Page) {
  return db
    .select()
    .from(operators)
    .where(after === undefined ? undefined : lt(operators.id, BigInt(after)))
    .orderBy(desc(operators.id))
    .limit(limit + 1)
}

/** The keys of one operator. */
export function listOperatorKeys(db: ReadDb, { operator_id, limit, after }: Page & { operator_id: string }) {
  const before = after === undefined ? undefined : lt(keys.id, BigInt(after))
  return db
    .select()
    .from(keys)
    .where(and(eq(keys.operator_id, BigInt(operator_id)), before))
    .orderBy(desc(keys.id))
    .limit(limit + 1)
}

export interface AuditPage extends Page {
  account_id?: string | undefined
  operator_id?: string | undefined
}

export function listAudit(db: ReadDb, { limit, after, account_id, operator_id }: AuditPage) {
  return db
    .select()
    .from(audit)
    .where(
      and(
        after === undefined ? undefined : lt(audit.id, BigInt(after)),
        account_id === undefined ? undefined : eq(audit.account_id, BigInt(account_id)),
        operator_id === undefined ? undefined : eq(audit.operator_id, BigInt(operator_id)),
      ),
    )
    .orderBy(desc(audit.id))
    .limit(limit + 1)
}
