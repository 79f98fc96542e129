// The connection of the reader's login, which can select the views of the schema `read` and nothing else. It carries the queries of
// queries.ts, by name and item; their rows are mapped by drizzle (a bigint is a bigint, a moment is a Date).

import { DrizzleQueryError } from 'drizzle-orm/errors'
import { drizzle } from 'drizzle-orm/postgres-js'
import type postgres from 'postgres'
import { asRefusal, type Connection, discard, ending, open, withDeadline } from './connection.ts'
import { withLiterals } from './literal.ts'
import type { ReadDb } from './queries/read-db.ts'
import { type QueryName, queries } from './queries.ts'

/** Answers the rows of a query for each item. */
export function connectReader(database_url: string, statement_ms_max: number): Connection {
  const sql = open(database_url, statement_ms_max)
  const db = drizzle(inOneTrip(sql, statement_ms_max))
  return {
    call: (name, items) => {
      const rows = items.map((item) => read(db, name as QueryName, item))
      return withDeadline(statement_ms_max, Promise.all(rows))
    },
    discard: () => discard(sql),
  }
}

/**
 * The client that drizzle asks, with `unsafe` alone changed: its statements go without parameters, and with an end of their own. What is
 * asked for is the rows of the last, as values, which is how drizzle reads fields.
 */
function inOneTrip(sql: postgres.Sql, statement_ms_max: number): postgres.Sql {
  const { unsafe } = sql
  const lastOf = async (text: string) => (await unsafe(ending(text, statement_ms_max)).values()).at(-1)
  return Object.assign(sql, {
    unsafe: (text: string, params: unknown[] = []) => ({ values: () => lastOf(withLiterals(text, params)) }),
  })
}

type Query = (db: ReadDb, item: never) => PromiseLike<object[]>

async function read(db: ReadDb, name: QueryName, item: object): Promise<object[]> {
  const query: Query = queries[name]
  try {
    return await query(db, item as never)
  } catch (error) {
    // Drizzle's own text quotes the parameters, which no log is to have.
    throw asRefusal(error instanceof DrizzleQueryError ? error.cause : error)
  }
}
