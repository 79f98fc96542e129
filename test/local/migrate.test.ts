import postgres from 'postgres'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { migrate, readFunctions, readMigrations } from '../../local/migrate.ts'
import catalog from '../../models/catalog.json' with { type: 'json' }
import { startTestPostgres, type TestPostgres } from '../support/postgres.ts'

let db: TestPostgres

beforeAll(async () => {
  db = await startTestPostgres()
})
afterAll(() => db?.stop())

const migration = (name: string, sql: string) => ({ name, sql, checksum: sql })

test('a second run applies nothing', async () => {
  expect(await migrate(db.url)).toEqual([])
  const rows = await db.sql`select name from schema_migrations order by name`
  expect(rows.map(({ name }) => name)).toEqual([...readMigrations().map(({ name }) => name), 'functions'])
})

test('a migration that changed after it was applied is refused by name', async () => {
  const [first, ...rest] = readMigrations()
  const changed = [{ ...first!, checksum: 'another' }, ...rest]
  await expect(migrate(db.url, changed)).rejects.toThrow(`${first!.name} was changed`)
})

test('one that fails leaves nothing of itself or of those before it', async () => {
  const set = [
    migration('8_good.sql', 'create table good (a int)'),
    migration('9_bad.sql', 'create table bad (a int); oops'),
  ]
  await expect(migrate(db.url, set)).rejects.toThrow('syntax error')
  const [row] = await db.sql`select to_regclass('good') as good, to_regclass('bad') as bad`
  expect(row).toEqual({ good: null, bad: null })
})

test('of two runs at once one applies and the other finds it done', async () => {
  const set = [migration('a.sql', 'create table once (a int)')]
  const runs = await Promise.all([migrate(db.url, set), migrate(db.url, set)])
  expect(runs.flat()).toEqual(['a.sql'])
})

test('a migration may change a column that a view shows, and the view is there afterwards', async () => {
  const set = [
    migration('b.sql', 'alter table receipt_keys add n int; alter table prices alter column version type bigint'),
  ]
  expect(await migrate(db.url, set)).toEqual(['b.sql'])
  expect(
    await db.sql`select format_type(atttypid, null) as type from pg_attribute
    where attrelid = 'read.prices'::regclass and attname = 'version'`,
  ).toEqual([{ type: 'bigint' }])
})

test('functions that changed are replaced, and only then', async () => {
  const answers = (n: number) => ({
    name: 'functions',
    sql: `create or replace function answer() returns int language sql as 'select ${n}'`,
    checksum: String(n),
  })
  expect(await migrate(db.url, [], answers(1))).toEqual(['functions'])
  expect(await migrate(db.url, [], answers(1))).toEqual([])
  expect(await migrate(db.url, [], answers(2))).toEqual(['functions'])
  expect(await db.sql`select answer()`).toEqual([{ answer: 2 }])
})

describe('the list price of the catalog', () => {
  const listed = () =>
    db.sql`select model, version::int, input_nanousd_per_token::text as price from prices where account_id is null order by model, version`
  const first = catalog.map(({ id, price }) => ({ model: id, version: 1, price: price.input_nanousd_per_token }))
  const inOrder = (rows: object[]) => rows.toSorted((a, b) => JSON.stringify(a).localeCompare(JSON.stringify(b)))

  test('is published for each model, once', async () => {
    await migrate(db.url)
    expect(inOrder(await listed())).toEqual(inOrder(first))
  })

  test('is not put in the place of what an operator published', async () => {
    const price = { model: 'ziya-coding-mini', input_nanousd_per_token: '7', output_nanousd_per_token: '8' }
    await db.ask('publish_price', price)
    await migrate(db.url)
    expect(inOrder(await listed())).toEqual(inOrder([...first, { model: price.model, version: 2, price: '7' }]))
  })
})

describe('what can be made again', () => {
  const functions = readFunctions()
  const withText = (old: string, text: string) => ({
    ...functions,
    sql: functions.sql.replace(old, () => text),
    checksum: text,
  })
  const checks = 'set local check_function_bodies = on;'

  test.each([
    [
      'names a table that is not there',
      'from receipt_keys)',
      'from receipt_kexs)',
      'api.list_receipt_keys: relation "receipt_kexs"',
    ],
    [
      'names a function that is not there',
      checks,
      `create function ledger.broken() returns int language sql as 'select not_there()'; ${checks}`,
      'ledger.broken: function not_there() does not exist',
    ],
    [
      'is not of its language',
      checks,
      `create function ledger.broken() returns int language plpgsql as 'begin retrun 1; end'; ${checks}`,
      'ledger.broken: syntax error',
    ],
  ])('fails by name where a body %s', async (_, old, text, error) => {
    const [before] = await db.sql`select 'api.admit'::regproc::oid as admit`
    await expect(migrate(db.url, [], withText(old, text))).rejects.toThrow(error)
    expect(await db.sql`select 'api.admit'::regproc::oid as admit`).toEqual([before])
  })

  test('is gone once it left the source', async () => {
    await db.sql`create function api.left_over() returns int language sql as 'select 1'`
    await db.sql`create function ledger.left_over() returns int language sql as 'select 1'`
    expect(await migrate(db.url, [], withText(checks, `${checks} -- again`))).toEqual(['functions'])
    expect(await db.sql`select oid::regprocedure from pg_proc where proname = 'left_over'`).toEqual([])
  })

  test('left the schema of the tables, where others keep their functions', async () => {
    await db.sql`create database older`
    const url = Object.assign(new URL(db.url), { pathname: '/older' }).href
    const older = readMigrations().filter(({ name }) => name < '0026')
    const admit = `create function admit(items jsonb) returns setof jsonb language sql as 'select items';
      create function own() returns int language sql as 'select 1'`
    await migrate(url, older, { name: 'functions', sql: admit, checksum: 'older' }, [])
    await migrate(url)
    const sql = postgres(url, { max: 1, fetch_types: false })
    const found = await sql`select oid::regproc::text as name from pg_proc where proname in ('admit', 'own') order by 1`
    await sql.end({ timeout: 5 })
    expect(found).toEqual([{ name: 'api.admit' }, { name: 'own' }])
  })
})
