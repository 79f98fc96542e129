// What should not have happened, the newest first.

import { and, desc, eq, lt } from 'drizzle-orm'
import { anomaliesView as anomalies } from '../schema/read.ts'
import type { Page, ReadDb } from './read-db.ts'

export function listAnomalies(db: ReadDb, { limit, after, request_id }: Page & { request_id?: string | undefined }) {
  return db
    .select()
    .from(anomalies)
    .where(
      and(
        after === undefined ? undefined : lt(anomalies.id, BigInt(after)),
        request_id === undefined ? undefined : eq(anomalies.request_id, request_id),
      ),
    )
    .orderBy(desc(anomalies.id))
    .limit(limit + 1)
}
