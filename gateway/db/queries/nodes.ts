// Nodes by their ids, and what was refused of them.

import { and, asc, eq, gt } from 'drizzle-orm'
import { nodesView as nodes, nodeRefusalsView as refusals } from '../schema/read.ts'
import type { Page, ReadDb } from './read-db.ts'

export function listNodes(db: ReadDb, { limit, after, id }: Page & { id?: string | undefined }) {
  return db
    .select()
    .from(nodes)
    .where(and(after === undefined ? undefined : gt(nodes.id, after), id === undefined ? undefined : eq(nodes.id, id)))
    .orderBy(asc(nodes.id))
    .limit(limit + 1)
}

export function listNodeRefusals(db: ReadDb, { limit }: { limit: number }) {
  return db.select().from(refusals).orderBy(asc(refusals.node_id), asc(refusals.reason)).limit(limit)
}
