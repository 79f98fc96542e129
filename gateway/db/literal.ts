// Parameters written into the statement, because a statement without any goes in one round trip, and one with them in two
// (postgres.js describes it first).

import { StatementRefused } from './connection.ts'

/** The statement with a literal at the place of each parameter. `text` is drizzle's and holds nothing that came from outside. */
export function withLiterals(text: string, params: readonly unknown[]): string {
  return text.replace(/\$(\d+)/g, (_, number) => literal(params[number - 1]))
}

/** Of no type yet, as a parameter is. In E'…' a quote and a backslash are what they are here, whatever the server's settings. */
function literal(value: unknown): string {
  if (value === null) return 'null'
  if (!['string', 'number', 'bigint', 'boolean'].includes(typeof value))
    throw new TypeError(`a ${typeof value} in a query`)
  const text = String(value)
  if (text.includes('\0')) throw new StatementRefused('22021', 'a text with a zero byte') // which would end the statement
  return ` E'${text.replaceAll('\\', '\\\\').replaceAll("'", "''")}'`
}
