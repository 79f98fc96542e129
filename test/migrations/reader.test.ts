// What the login that reads may do to the database: select the views of the schema `read`, and nothing else.

import postgres from 'postgres'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { readerUrl } from '../../local/gateway-login.ts'
import { migrate } from '../../local/migrate.ts'
import { startTestPostgres, type TestPostgres } from '../support/postgres.ts'

let db: TestPostgres
let reader: postgres.Sql

beforeAll(async () => {
  db = await startTestPostgres()
  reader = postgres(await readerUrl(db.sql, db.url), { max: 1, prepare: false, fetch_types: false, onnotice: () => {} })
})
afterAll(async () => {
  await reader?.end({ timeout: 5 })
  await db?.stop()
})

test('the login is the same at every start', async () => {
  expect(await readerUrl(db.sql, db.url)).toBe(await readerUrl(db.sql, db.url))
  const [who] = await reader`select current_user::text as name, usesuper from pg_user where usename = current_user`
  expect(who).toEqual({ name: 'ziya_reader_local', usesuper: false })
})

describe('refused:', () => {
  test.each([
    'select * from keys',
    'select hash from keys',
    'select * from accounts',
    'select * from entries',
    'select * from usage',
    'select * from usage_default',
    'select body from idempotent_requests',
    "select api.health('[{}]')",
    "select api.create_account('[{}]')",
    "select api.find_account('[{}]')",
    'select ledger.key_report(null::keys)',
    'insert into read.prices (model) values (null)',
    'update read.accounts set name = null',
    'update read.entries set amount_nanousd = 0',
    'delete from read.keys',
    'create view read.more as select 1',
    'create table more (id int)',
    'drop schema read cascade',
    'set role ziya_gateway',
    'set role postgres',
  ])('%s', async (statement) => {
    await expect(reader.unsafe(statement)).rejects.toMatchObject({ code: '42501' })
  })

  test('every table and view but those of the schema read, which can be selected and no more', async () => {
    const held = await db.sql`
      select oid::regclass::text as name, privilege from pg_class,
        unnest(array['select', 'insert', 'update', 'delete', 'truncate', 'references', 'trigger']) as privilege
      where relnamespace not in ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
        and relkind in ('r', 'p', 'v', 'm') and has_table_privilege('ziya_reader_local', oid, privilege)`
    const views =
      await db.sql`select oid::regclass::text as name from pg_class where relnamespace = 'read'::regnamespace and relkind = 'v'`
    const selectable = views.map(({ name }) => ({ name, privilege: 'select' }))
    expect(held.toSorted(byName)).toEqual(selectable.toSorted(byName))
    expect(views.length).toBeGreaterThan(5)
  })

  test('every function', async () => {
    const callable = await db.sql`
      select p.oid::regprocedure::text from pg_proc p join pg_namespace n on n.oid = pronamespace
      where nspname not in ('pg_catalog', 'information_schema')
        and has_schema_privilege('ziya_reader_local', nspname, 'usage') and has_function_privilege('ziya_reader_local', p.oid, 'execute')`
    expect(callable).toEqual([])
  })
})

test('no view shows a hash, a secret, a kept answer or an operator’s note', async () => {
  const shown = await db.sql`
    select attrelid::regclass::text, attname from pg_attribute join pg_class c on c.oid = attrelid
    where relnamespace = 'read'::regnamespace
      and (attname ~ 'hash|secret|body|fingerprint|note|created_by' or atttypid = 'bytea'::regtype)`
  expect(shown).toEqual([])
})

test('where the owner may create no roles, the reader is the owner', async () => {
  vi.spyOn(console, 'error').mockImplementation(() => {})
  await db.sql`create role plain login password 'p'`
  await db.sql`create database plain owner plain`
  const url = Object.assign(new URL(db.url), { username: 'plain', password: 'p', pathname: '/plain' }).href
  await migrate(url)
  const sql = postgres(url, { max: 1, prepare: false, fetch_types: false })
  expect(await readerUrl(sql, url)).toBe(url)
  expect(await sql`select count(*)::int from read.accounts`).toEqual([{ count: 0 }])
  await sql.end({ timeout: 5 })
})

function byName(a: { name?: string }, b: { name?: string }): number {
  return a.name! < b.name! ? -1 : 1
}
