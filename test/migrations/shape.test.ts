// What every SQL function is held to, as TypeScript is: short enough to be read at once, with few arguments.

import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startTestPostgres, type TestPostgres } from '../support/postgres.ts'

const LINES_MAX = 70
const ARGUMENTS_MAX = 6 // those it answers with, too

let db: TestPostgres

beforeAll(async () => {
  db = await startTestPostgres()
})
afterAll(() => db?.stop())

const migrations = join(import.meta.dirname, '../../migrations')

test(`no function has more than ${LINES_MAX} lines`, () => {
  const functions = globSync('{api,ledger,triggers,views}/*.sql', { cwd: migrations }).flatMap((file) =>
    functionsOf(readFileSync(join(migrations, file), 'utf8')),
  )
  expect(functions.length).toBeGreaterThan(150)
  expect(functions.filter(({ lines }) => lines > LINES_MAX)).toEqual([])
})

test(`no function has more than ${ARGUMENTS_MAX} arguments`, async () => {
  const functions = await db.sql`
    select oid::regproc::text, coalesce(cardinality(proallargtypes), pronargs) as arguments from pg_proc
    where pronamespace in ('api'::regnamespace, 'ledger'::regnamespace, 'public'::regnamespace)`
  expect(functions.length).toBeGreaterThan(150)
  expect(functions.filter(({ arguments: count }) => count > ARGUMENTS_MAX)).toEqual([])
})

/** A function begins a line, and ends where the dollars that quote its body come again. */
function functionsOf(sql: string): { name: string; lines: number }[] {
  const matches = sql.matchAll(/^create (?:or replace )?function (\S+?)\([^$]*\$\$.*?\$\$;/gms)
  return Array.from(matches, ([text, name]) => ({ name: name!, lines: text.split('\n').length }))
}
