import postgres from 'postgres'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { CATALOG, readCatalog } from '../../local/catalog.ts'
import { migrate, readFunctions, readMigrations } from '../../local/migrate.ts'
import { startTestPostgres, type TestPostgres } from '../support/postgres.ts'

let db: TestPostgres

beforeAll(async () => {
  db = await startTestPostgres()
})
afterAll(() => db?.stop())

const migration = (name: string, sql: string) => ({ name, sql, checksum: sql })

/** All that the database has, and more. */
const and = (...more: ReturnType<typeof migration>[]) => [...readMigrations(), ...more]

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
  const set = and(
    migration('8_good.sql', 'create table good (a int)'),
    migration('9_bad.sql', 'create table bad (a int); oops'),
  )
  await expect(migrate(db.url, set)).rejects.toThrow('syntax error')
  const [row] = await db.sql`select to_regclass('good') as good, to_regclass('bad') as bad`
  expect(row).toEqual({ good: null, bad: null })
})

test('of two runs at once one applies and the other finds it done', async () => {
  const set = and(migration('a.sql', 'create table once (a int)'))
  const runs = await Promise.all([migrate(db.url, set), migrate(db.url, set)])
  expect(runs.flat()).toEqual(['a.sql'])
})

test('a migration may change a column that a view shows, and the view is there afterwards', async () => {
  const set = and(
    migration('b.sql', 'alter table receipt_keys add n int; alter table prices alter column version type bigint'),
  )
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
  expect(await migrate(db.url, and(), answers(1))).toEqual(['functions'])
  expect(await migrate(db.url, and(), answers(1))).toEqual([])
  expect(await migrate(db.url, and(), answers(2))).toEqual(['functions'])
  expect(await db.sql`select answer()`).toEqual([{ answer: 2 }])
})

describe('refused by name, and nothing is changed:', () => {
  test('a database that a later version made', async () => {
    const later = ['9998_later.sql', '9999_latest.sql'].map((name) =>
      migration(name, `create table t${name[3]} (a int)`),
    )
    await migrate(db.url, and(...later), undefined, null)
    const [before] = await db.sql`select 'api.admit'::regproc::oid as admit`
    await expect(migrate(db.url)).rejects.toThrow(
      /^this database is newer: it has 9998_later\.sql, 9999_latest\.sql, which this version does not know\. .*/,
    )
    expect(await db.sql`select 'api.admit'::regproc::oid as admit`).toEqual([before])
    await db.sql`delete from schema_migrations where name ~ '^999'`
  })

  test('one whose tables belong to somebody else, who is named', async () => {
    await db.sql`create role other login password 'p'`
    await db.sql`grant all on database postgres to other`
    await db.sql`grant select on schema_migrations to other`
    const url = Object.assign(new URL(db.url), { username: 'other', password: 'p' }).href
    await expect(migrate(url)).rejects.toThrow('the tables of this database belong to postgres: migrate as that user')
  })
})

test('what a superuser migrates stays the owner’s', async () => {
  await db.sql`create role keeper login password 'p'`
  await db.sql`create database kept owner keeper`
  const url = (username: string, password: string) =>
    Object.assign(new URL(db.url), { username, password, pathname: '/kept' }).href
  await migrate(url('keeper', 'p'), readMigrations(), undefined, null)
  const { username, password } = new URL(db.url)
  const again = { ...readFunctions(), checksum: 'again' }
  await migrate(url(username, password), and(migration('z.sql', 'create table z (a int)')), again, null)
  const sql = postgres(url(username, password), { max: 1, fetch_types: false })
  const owners = await sql`
    select distinct relowner::regrole::text as owner from pg_class where relnamespace = 'public'::regnamespace
    union select proowner::regrole::text from pg_proc where pronamespace in ('api'::regnamespace, 'ledger'::regnamespace)`
  await sql.end({ timeout: 5 })
  expect(owners).toEqual([{ owner: 'keeper' }])
  expect(await migrate(url('keeper', 'p'), and(migration('z.sql', 'create table z (a int)')), again, null)).toEqual([])
})

test('a login that is a reader does not compile its statements; every other login is left alone, and who may not change one is told', async () => {
  await db.sql.unsafe(`create role my_reader login password 'p' in role ziya_reader; create role stranger login;
    create role small login password 'p'`)
  await db.sql`create database little owner small`
  const said: string[] = []
  const say = (line: string) => said.push(line)
  await migrate(db.url, and(), { name: 'functions', sql: '', checksum: '' }, null, say)
  const changed =
    await db.sql`select setrole::regrole::text as name, setconfig from pg_db_role_setting where setrole <> 0 order by 1`
  expect(changed.filter(({ name }) => !name.startsWith('ziya_'))).toEqual([
    { name: 'my_reader', setconfig: '{jit=off}' },
  ])
  const url = Object.assign(new URL(db.url), { username: 'small', password: 'p', pathname: '/little' }).href
  await migrate(url, readMigrations(), undefined, null, say)
  expect(said).toContainEqual(expect.stringMatching(/^ {2}my_reader compiles .*in database little set jit = off$/))
})

describe('the list price of the catalog', () => {
  const listed = () =>
    db.sql`select model, version::int, input_nanousd_per_token::text as price from prices where account_id is null order by model, version`
  const first = readCatalog(CATALOG).flatMap(({ id, price }) =>
    price ? [{ model: id, version: 1, price: price.input_nanousd_per_token }] : [],
  )
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
    await expect(migrate(db.url, and(), withText(old, text))).rejects.toThrow(error)
    expect(await db.sql`select 'api.admit'::regproc::oid as admit`).toEqual([before])
  })

  test('is gone once it left the source', async () => {
    await db.sql`create function api.left_over() returns int language sql as 'select 1'`
    await db.sql`create function ledger.left_over() returns int language sql as 'select 1'`
    expect(await migrate(db.url, and(), withText(checks, `${checks} -- again`))).toEqual(['functions'])
    expect(await db.sql`select oid::regprocedure from pg_proc where proname = 'left_over'`).toEqual([])
  })

  test('left the schema of the tables, where others keep their functions', async () => {
    await db.sql`create database older`
    const url = Object.assign(new URL(db.url), { pathname: '/older' }).href
    const older = readMigrations().filter(({ name }) => name < '0026')
    const admit = `create function admit(items jsonb) returns setof jsonb language sql as 'select items';
      create function own() returns int language sql as 'select 1'`
    await migrate(url, older, { name: 'functions', sql: admit, checksum: 'older' }, null)
    await migrate(url)
    const sql = postgres(url, { max: 1, fetch_types: false })
    const found = await sql`select oid::regproc::text as name from pg_proc where proname in ('admit', 'own') order by 1`
    await sql.end({ timeout: 5 })
    expect(found).toEqual([{ name: 'api.admit' }, { name: 'own' }])
  })
})
