// What the login that reads may do to the database: select the views of the schema `read`, and nothing else.

import type postgres from 'postgres'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { loginName, readerUrl } from '../../local/gateway-login.ts'
import { close, connect, expectOwnersLogin, expectSameLogin } from '../support/logins.ts'
import { newPayer, startTestPostgres, type TestPostgres } from '../support/postgres.ts'
import { startReader } from '../support/reader.ts'

let db: TestPostgres
const login = loginName('ziya_reader', 'postgres')

let reader: postgres.Sql

beforeAll(async () => {
  db = await startTestPostgres()
  reader = connect(await readerUrl(db.sql, db.url))
})
afterAll(() => close(reader, db))

test('the login is the same at every start', () => expectSameLogin(db, readerUrl, login))

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
    'update read.prices set model = null',
    'update read.entries set amount_nanousd = 0',
    'delete from read.entries',
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
        and relkind in ('r', 'p', 'v', 'm') and has_table_privilege(${login}::name, oid, privilege)`
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
        and has_schema_privilege(${login}::name, nspname, 'usage') and has_function_privilege(${login}::name, p.oid, 'execute')`
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

test('each query reads the account that it is asked for alone, and of invoices those that are closed', async () => {
  const [own, other] = [await newPayer(db, 1n), await newPayer(db, 2n)]
  for (const { account_id, key_id } of [own, other]) {
    await db.sql`insert into usage_daily values (${account_id}, '2026-01-01', ${key_id}, 'm', 1, 1, 1, 1, 1, 1)`
    await db.sql`insert into invoices
      (account_id, number, month, billing_mode, after_sequence, last_sequence, summed_sequence, opening_nanousd, closing_nanousd, closed_at)
      values (${account_id}, 1, '2026-01-01Z', 'postpaid', 0, 1, 1, 0, -5, now()), (${account_id}, 2, '2026-02-01Z', 'postpaid', 1, 2, 1, -5, 0, null)`
  }
  const read = await startReader(db)
  const { account_id } = own
  const span = { account_id, from: '2026-01-01', to: '2026-02-01', rows_max: 9 }
  const ids = [{ account_id: BigInt(account_id) }]
  expect(await read.read('list_keys', { account_id, limit: 9 })).toMatchObject([{ ...ids[0], id: BigInt(own.key_id) }])
  expect(await read.read('list_entries', { account_id, limit: 9 })).toMatchObject([{ ...ids[0], amount_nanousd: 1n }])
  const invoices = await read.read('list_invoices', { account_id, limit: 9 })
  expect(invoices).toMatchObject([{ ...ids[0], number: 1, month: '2026-01', closing_nanousd: -5n, due_nanousd: 5n }])
  for (const group of ['key', 'tag'] as const) {
    const sums = {
      requests: 1,
      prompt_tokens: 1,
      cached_tokens: 1,
      completion_tokens: 1,
      cost_nanousd: 1n,
      refunded_nanousd: 0n,
    }
    const of = group === 'key' ? { key_id: BigInt(own.key_id) } : { tag: '' }
    expect(await read.read('sum_usage', { ...span, group_by: [group] })).toEqual([{ ...of, ...sums }])
  }
  read.stop()
})

test('where the owner may create no roles, the reader is the owner', async () => {
  await expectOwnersLogin(db, readerUrl, async (sql) => {
    expect(await sql`select count(*)::int from read.accounts`).toEqual([{ count: 0 }])
  })
})

function byName(a: { name?: string }, b: { name?: string }): number {
  return a.name! < b.name! ? -1 : 1
}
