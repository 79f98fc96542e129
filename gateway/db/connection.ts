// One connection to Postgres that carries one statement at a time. Every statement calls one SQL function with a JSON array and
// expects one JSON answer an item, or the database's word that nothing happened. Whatever else happens, the outcome is unknown: the
// client is thrown away, and the caller asks again by id. (postgres.js may otherwise wedge, or answer with no rows, when a backend dies.)

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

/** The database gave the statement up, or had to: nothing of it happened, and asking again may end otherwise. */
export class StatementUndone extends Error {}

/** No answer came in time: what was asked may have happened, or still happen. */
export class NoAnswer extends Error {}

export interface Connection {
  call(name: string, items: object[]): Promise<object[]>
  discard(): void
}

type Options = postgres.Options<Record<string, never>>

/** `through` says how the server is reached, where that is not plainly by its URL. */
export function connect(database_url: string, statement_ms_max: number, through: Options = {}): Connection {
  const sql = open(database_url, statement_ms_max, through)
  return {
    call: (name, items) => withDeadline(statement_ms_max, call(sql, statement(name, items, statement_ms_max), items)),
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

async function call(sql: postgres.Sql, text: string, items: object[]): Promise<object[]> {
  const results = await sql.unsafe(text).catch((error: unknown) => {
    throw asRefusal(error)
  })
  const rows = (results.at(-1) ?? []) as unknown as { answer: object }[]
  if (rows.length !== items.length) throw new Error(`${rows.length} of ${items.length} items were answered`)
  return rows.map((row) => row.answer)
}

// A statement without parameters goes in one round trip, one with them in two (postgres.js describes it first). The JSON is
// the only variable part. Its quotes are written as JSON's own escapes, so the literal holds none: nothing in it can end it,
// whatever the server's settings.
function statement(name: string, items: object[], ms_max: number): string {
  const literal = `'${JSON.stringify(items).replaceAll("'", '\\u0027')}'::jsonb`
  return ending(`select ${callOf(name, literal)} as answer`, ms_max)
}

// The server gives up a little before its caller does, so that none of what was given up works on.
const OF_THE_DEADLINE = 0.9

/**
 * The statement with an end of its own. Both go as one text and are one transaction, so this holds behind a pooler too, which lends a
 * connection for a transaction: what it is set to is gone with it. The answers are those of both, in order.
 */
export function ending(statement: string, ms_max: number): string {
  return `set local statement_timeout = ${Math.max(1, Math.floor(OF_THE_DEADLINE * ms_max))}; ${statement}`
}

/** How SQL calls a function of the boundary, about items that are an expression of type jsonb. */
export function callOf(name: string, items: string): string {
  return `api.${name}(${items})`
}

// Classes of SQLSTATE that say the server or the connection is going away, or that somebody else was in the way.
const PASSING = /^(08|25|40|53|55|57|58)/

// Of those, what is said of a transaction that is rolled back for certain: a conflict, a lock, its time.
const UNDONE = /^(40(?!003)|55|57014)/

/** The error that a caller is to see: what the database said became of the statement, else the error itself. */
export function asRefusal(error: unknown): unknown {
  const { name, code = '' } = error as { name?: string; code?: string }
  if (name === 'PostgresError' && UNDONE.test(code)) return new StatementUndone(`given up by the server (${code})`)
  return isRefusal(error) ? new StatementRefused(error.code, error.message) : error
}

function isRefusal(error: unknown): error is { code: string; message: string } {
  const { name, code } = error as { name?: string; code?: string }
  return name === 'PostgresError' && code !== undefined && !PASSING.test(code)
}

export async function withDeadline<T>(ms: number, promise: Promise<T>): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined
  const late = new Promise<never>((_, fail) => {
    timer = setTimeout(() => fail(new NoAnswer(`no answer within ${ms} ms`)), ms)
  })
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}
