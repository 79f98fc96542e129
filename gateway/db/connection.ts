// One connection to Postgres that carries one statement at a time. Every statement calls one SQL function with a JSON array and
// expects one JSON answer an item. Whatever else happens, the outcome is unknown: the client is thrown away, and the caller
// asks again by id. (postgres.js may otherwise wedge, or answer with no rows, when a backend dies.)

import postgres from 'postgres'
import type { Answer, FunctionName, Item } from './functions.ts'

/** The database answered with an error: nothing of the statement happened, and asking again would end the same way. */
export class StatementRefused extends Error {
  readonly sqlstate: string

  constructor(sqlstate: string, message: string) {
    super(message)
    this.sqlstate = sqlstate
  }
}

export interface Connection {
  call(name: string, items: object[]): Promise<object[]>
  discard(): void
}

type Options = postgres.Options<Record<string, never>>

/** `through` says how the server is reached, where that is not plainly by its URL. */
export function connect(database_url: string, statement_ms_max: number, through: Options = {}): Connection {
  const sql = open(database_url, statement_ms_max, through)
  return {
    call: (name, items) => withDeadline(statement_ms_max, call(sql, name, items)),
    discard: () => discard(sql),
  }
}

export function open(database_url: string, statement_ms_max: number, through: Options = {}): postgres.Sql {
  return postgres(database_url, {
    ...through,
    max: 1,
    prepare: false,
    fetch_types: false,
    connect_timeout: Math.ceil(statement_ms_max / 1000),
    onnotice: () => {},
  })
}

export function discard(sql: postgres.Sql): void {
  void sql.end({ timeout: 0 }).catch(() => {})
}

/** Asks by functions.ts over a connection of one's own, beside the gateway: as a bench or a start does. */
export async function askOver<N extends FunctionName>(
  connection: Connection,
  name: N,
  ...items: Item<N>[]
): Promise<Answer<N>[]> {
  return (await connection.call(name, items)) as Answer<N>[]
}

async function call(sql: postgres.Sql, name: string, items: object[]): Promise<object[]> {
  const rows = await sql.unsafe(statement(name, items)).catch((error: unknown) => {
    throw asRefusal(error)
  })
  if (rows.length !== items.length) throw new Error(`${name} answered ${rows.length} of ${items.length} items`)
  return rows.map((row) => row.answer as object)
}

// A statement without parameters goes in one round trip, one with them in two (postgres.js describes it first). The JSON is
// the only variable part. Its quotes are written as JSON's own escapes, so the literal holds none: nothing in it can end it,
// whatever the server's settings.
function statement(name: string, items: object[]): string {
  return `select ${callOf(name, `'${JSON.stringify(items).replaceAll("'", '\\u0027')}'::jsonb`)} as answer`
}

/** How SQL calls a function of the boundary, about items that are an expression of type jsonb. */
export function callOf(name: string, items: string): string {
  return `api.${name}(${items})`
}

// Classes of SQLSTATE that say the server or the connection is going away, or that somebody else was in the way.
const PASSING = /^(08|25|40|53|55|57|58)/

/** The error that a caller is to see: a refusal where the database said so, else the error itself. */
export function asRefusal(error: unknown): unknown {
  return isRefusal(error) ? new StatementRefused(error.code, error.message) : error
}

function isRefusal(error: unknown): error is { code: string; message: string } {
  const { name, code } = error as { name?: string; code?: string }
  return name === 'PostgresError' && code !== undefined && !PASSING.test(code)
}

export async function withDeadline<T>(ms: number, promise: Promise<T>): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined
  const late = new Promise<never>((_, fail) => {
    timer = setTimeout(() => fail(new Error(`no answer within ${ms} ms`)), ms)
  })
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}
