// What a query is written against: drizzle over the reader's login. And how a page of a list is asked for.

import type { PostgresJsDatabase } from 'drizzle-orm/postgres-js'

export type ReadDb = PostgresJsDatabase

/** `limit` rows at most, those before `after`. One more is read, which tells whether there are more. */
export interface Page {
  limit: number
  after?: string | undefined
}
