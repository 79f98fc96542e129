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

// `from jsonb_array_elements_text(…) as id` names a table whose column is `value`: `id` is then that of any table around it that has one.
test('what is unpacked from an array is called as no column of a table is, or its column is named', async () => {
  const columns = await db.sql`
    select distinct column_name from information_schema.columns where table_schema in ('public', 'ledger', 'api')`
  const names = new Set(columns.map(({ column_name }) => column_name as string))
  const sql = globSync('{api,ledger,triggers,views}/*.sql', { cwd: migrations }).map((file) =>
    readFileSync(join(migrations, file), 'utf8'),
  )
  const unpacked = sql.flatMap((text) => [
    ...text.matchAll(/\bjsonb_array_elements(?:_text)?(\((?:[^()]|\([^()]*\))*\)) as (\w+)\b(?! \()/g),
  ])
  expect(unpacked.length).toBeGreaterThan(50)
  expect(unpacked.filter(([, , name]) => names.has(name!)).map(([text]) => text)).toEqual([])
})

/** A function begins a line, and ends where the dollars that quote its body come again. */
function functionsOf(sql: string): { name: string; lines: number }[] {
  const matches = sql.matchAll(/^create (?:or replace )?function (\S+?)\([^$]*\$\$.*?\$\$;/gms)
  return Array.from(matches, ([text, name]) => ({ name: name!, lines: text.split('\n').length }))
}
