// What the gateway's login may do to the database: call the functions of the ledger, and nothing else.

import { randomUUID } from 'node:crypto'
import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type postgres from 'postgres'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { functions as boundary, type FunctionName } from '../../gateway/db/functions.ts'
import { gatewayUrl, loginName } from '../../local/gateway-login.ts'
import { close, connect, expectOwnersLogin, expectSameLogin } from '../support/logins.ts'
import {
  type Ask,
  askOver,
  ledgerFindings,
  newPayerBy,
  startTestPostgres,
  type TestPostgres,
} from '../support/postgres.ts'

let db: TestPostgres
let gateway: postgres.Sql
let ask: Ask
let settled: object

beforeAll(async () => {
  db = await startTestPostgres()
  gateway = connect(await gatewayUrl(db.sql, db.url))
  ask = askOver(gateway)
})
afterAll(() => close(gateway, db))

const root = join(import.meta.dirname, '../..')
const login = loginName('ziya_gateway', 'postgres')
const denied = { code: '42501' }

test('the login is the same at every start', () => expectSameLogin(db, gatewayUrl, login))

describe('refused:', () => {
  test.each([
    'select * from keys',
    'select hash from keys',
    'select * from accounts',
    'select * from idempotent_requests',
    'update entries set amount_nanousd = 0',
    'delete from entries',
    'truncate entries',
    "insert into entries (account_id, sequence, kind, amount_nanousd) values (1, 1, 'top_up', 1)",
    'update usage set cost_nanousd = 0',
    'delete from usage',
    'truncate usage',
    'delete from usage_default',
    'update accounts set credited_nanousd = 1',
    'update prices set input_nanousd_per_token = 0',
    'delete from anomalies',
    'drop table entries',
    'alter table entries disable trigger all',
    'create table accounts_too (id int)',
    'create function f() returns int language sql as $$ select 1 $$',
    'select ledger.save_takings(null, null, null)',
    'select ledger.book_entry(null::entries)',
    "select ledger.heartbeat('{}')",
    "select ledger.settle_set('[]')",
    "select ledger.add_usage_month('2020-01-01')",
    'set session_replication_role = replica',
    'set role postgres',
  ])('%s', async (statement) => {
    await expect(gateway.unsafe(statement)).rejects.toMatchObject(denied)
  })

  test('every table', async () => {
    const tables = await db.sql`
      select oid::regclass::text from pg_class
      where relnamespace not in ('pg_catalog'::regnamespace, 'information_schema'::regnamespace) and relkind in ('r', 'p', 'v', 'S')
        and (has_table_privilege(${login}::name, oid, 'select, insert, update, delete, truncate, references, trigger'))`
    expect(tables).toEqual([])
  })

  test('every function but those in api, which are those of functions.ts, and each is called', async () => {
    const functions = await db.sql`
      select proname, nspname, has_function_privilege(${login}::name, p.oid, 'execute')
        and has_schema_privilege(${login}::name, nspname, 'usage') as is_callable
      from pg_proc p join pg_namespace n on n.oid = pronamespace where nspname not in ('pg_catalog', 'information_schema')`
    expect(functions.filter(({ nspname, is_callable }) => is_callable !== (nspname === 'api'))).toEqual([])
    const callable = functions.filter(({ is_callable }) => is_callable).map(({ proname }) => proname as string)
    expect(callable.sort()).toEqual(Object.keys(boundary).sort())
    const source = globSync('gateway/**/*.ts', { cwd: root }).map((file) => readFileSync(join(root, file), 'utf8'))
    expect(callable.filter((name) => !source.some((text) => text.includes(`'${name}'`)))).toEqual([])
  })
})

test('nobody but the owner and the gateway may call any function', async () => {
  const open = await db.sql`
    select p.oid::regprocedure::text, grantee::regrole::text
    from pg_proc p cross join lateral aclexplode(coalesce(proacl, acldefault('f', proowner)))
    where pronamespace in ('public'::regnamespace, 'api'::regnamespace, 'ledger'::regnamespace)
      and grantee <> proowner and (grantee <> 'ziya_gateway'::regrole or pronamespace <> 'api'::regnamespace)`
  expect(open).toEqual([])
})

test('what runs with the rights of its owner is what is in api, and finds nothing temporary before what it names', async () => {
  const functions = await db.sql`
    select p.oid::regprocedure::text as name, nspname = 'api' as is_callable, prosecdef,
      coalesce(array_to_string(proconfig, '; ') ~ 'search_path=[^;]*, pg_temp(;|$)', false) as is_fixed
    from pg_proc p join pg_namespace n on n.oid = pronamespace where nspname not in ('pg_catalog', 'information_schema')`
  expect(functions.filter(({ prosecdef, is_callable }) => prosecdef !== is_callable)).toEqual([])
  expect(functions.filter(({ prosecdef, is_fixed }) => prosecdef && !is_fixed)).toEqual([])
})

describe('neither of the logins', () => {
  const logins = ['ziya_gateway', 'ziya_reader']

  test.each(logins)('%s has a right in the database but to enter it', async (role) => {
    const [rights] = await db.sql`
      select has_database_privilege(${role}, current_database(), 'temporary') as may_make_temporary,
        has_database_privilege(${role}, current_database(), 'create') as may_make_schemas,
        (select array_agg(nspname::text) from pg_namespace where has_schema_privilege(${role}, oid, 'create')) as may_make_in,
        (select array_agg(nspname::text) from pg_namespace
         where has_schema_privilege(${role}, oid, 'usage') and nspname !~ '^(pg_|information_schema|public$)') as may_use,
        (select array_agg(proname::text) from pg_proc
         where proname ~ '^lo_(creat|create|from_bytea|import)$' and has_function_privilege(${role}, oid, 'execute')) as large_objects`
    const own = role === 'ziya_gateway' ? 'api' : 'read'
    expect(rights).toEqual({
      may_make_temporary: false,
      may_make_schemas: false,
      may_make_in: null,
      may_use: `{${own}}`,
      large_objects: null,
    })
  })

  test.each(logins)('%s is a member of another role, or more than a name', async (role) => {
    const [attributes] = await db.sql`
      select rolsuper or rolcreaterole or rolcreatedb or rolreplication or rolbypassrls as is_more,
        (select array_agg(roleid::regrole::text) from pg_auth_members where member = r.oid) as member_of
      from pg_roles r where rolname = ${role}`
    expect(attributes).toEqual({ is_more: false, member_of: null })
  })

  test.each(logins)('%s may do anything to a column, a sequence or another’s type of ours', async (role) => {
    const open = await db.sql`
      select oid::regclass::text from pg_class
      where relnamespace in ('public'::regnamespace, 'ledger'::regnamespace, 'api'::regnamespace) and (
        relkind in ('r', 'p', 'v', 'm', 'f') and has_any_column_privilege(${role}, oid, 'select, insert, update, references')
        or relkind = 'S' and has_sequence_privilege(${role}, oid, 'usage, select, update'))`
    expect(open).toEqual([])
  })

  test('makes a temporary table', async () => {
    await expect(gateway`create temporary table accounts (id bigint)`).rejects.toMatchObject(denied)
  })
})

// A database whose owner cannot take that right away is no open door, either: every function that runs as the owner is called while tables
// of the login's own, temporary, have the names of ours, and a trigger that tells who runs it.
test('with temporary tables of the same names, no function runs what the login wrote as anybody else', async () => {
  await db.sql.unsafe(
    `grant temporary on database ${(await db.sql`select current_database() as name`)[0]!.name} to ziya_gateway`,
  )
  const login = connect(await gatewayUrl(db.sql, db.url))
  try {
    const tables = await db.sql`
      select relname as name from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') and not relispartition`
    const names = [...tables.map(({ name }) => name as string), 'usage_default', 'usage_2020_01']
    await login.unsafe(`create temporary table ran_as (who text);
      create function pg_temp.tell() returns trigger language plpgsql as
        $$ begin insert into pg_temp.ran_as values (current_user); return null; end $$;`)
    const columns =
      'id bigint, account_id bigint, key_id bigint, hash bytea, request_id uuid, settled_at timestamptz, model text, version int'
    for (const name of names) {
      await login.unsafe(`create temporary table ${name} (${columns})`)
      await login.unsafe(
        `create trigger t after insert or update or delete on pg_temp.${name} for each statement execute function pg_temp.tell()`,
      )
    }
    const item = {
      account_id: '1',
      key_id: '1',
      key_hash: '00',
      operator: true,
      request_id: randomUUID(),
      model: 'm',
      months_ahead: 3,
    }
    const more = {
      count_max: 9,
      entries_max: 9,
      after: '0',
      anew: true,
      findings: true,
      limit: 1,
      node_id: 'n',
      amount_nanousd: '1',
    }
    for (const name of Object.keys(boundary))
      await login`select ${login(`api.${name}`)}(${JSON.stringify([{ ...item, ...more }])}::text::jsonb)`.catch(
        () => {},
      )
    const ran = await login`select distinct who from pg_temp.ran_as where who <> current_user`
    expect(ran).toEqual([])
  } finally {
    await login.end({ timeout: 5 })
    await db.sql.unsafe(
      `revoke temporary on database ${(await db.sql`select current_database() as name`)[0]!.name} from ziya_gateway`,
    )
  }
})

test('the whole way of money is open to it', async () => {
  const price = { model: 'm', input_nanousd_per_token: '2', output_nanousd_per_token: '5' }
  const numbers = { context_tokens: 9, running: 1, waiting: 2, blocks_total: 3, blocks_free: 3 }
  const node = { node_id: 'n', url: 'http://n', model: 'm', state: 'ready', ...numbers }
  const one = async (name: FunctionName, item: object) => (await ask(name, item))[0]!
  expect(await one('publish_price', price)).toMatchObject({ decision: 'published' })
  expect(await one('settle', { node })).toMatchObject({ decision: 'seen' })
  const payer = await newPayerBy(ask, 1000n)
  const { account_id } = payer
  const request_id = randomUUID()
  const wish = {
    request_id,
    key_hash: payer.key_hash,
    model: 'm',
    prompt_tokens_max: 10,
    request_output_tokens_max: 20,
    ttl_ms: 60_000,
  }
  const ticket = await one('admit', wish)
  expect(ticket).toMatchObject({ decision: 'admitted', reserved_nanousd: '120' })
  expect(await one('fence', { ...ticket, request_id, attempt: 2 })).toEqual({ decision: 'fenced' })
  const counts = { prompt_tokens: 10, cached_tokens: 0, completion_tokens: 4, delivered_tokens: 4, outcome: 'stop' }
  const record = {
    ...ticket,
    request_id,
    model: 'm',
    attempt: 2,
    ...counts,
    started_unix_ms: 0,
    first_token_ms: 1,
    duration_ms: 1,
  }
  expect(await one('settle', record)).toEqual({ decision: 'posted' })
  settled = record
  expect(await one('read_balance', { key_hash: payer.key_hash })).toMatchObject({ balance_nanousd: '960' })
  const money = { account_id, amount_nanousd: '7', note: null }
  const expires_at = new Date(Date.now() + 3_600_000).toISOString()
  expect(await one('refund', { ...money, request_id, reference: randomUUID() })).toMatchObject({ decision: 'refunded' })
  expect(await one('give_grant', { ...money, expires_at, reference: randomUUID() })).toMatchObject({
    decision: 'granted',
  })
  expect(await one('adjust', { ...money, direction: 'debit', reference: randomUUID() })).toMatchObject({
    decision: 'adjusted',
  })
  expect(await one('add_usage_months', { months_ahead: 12 })).toEqual({ decision: 'added' })
  expect(await one('reconcile', { after: '0', entries_max: 100, anew: true })).toMatchObject({ decision: 'allowed' })
  expect(await ledgerFindings(db.sql, [account_id])).toEqual([])
})

test('an admission it asks for is not waited for on the disk, and a settlement is', async () => {
  const commits = (name: string, items: object[]) =>
    gateway`select current_setting('synchronous_commit') as mode from ${gateway(`api.${name}`)}(${JSON.stringify(items)}::text::jsonb)`
  expect(await commits('admit', [{ request_id: randomUUID(), key_hash: '00' }])).toEqual([{ mode: 'off' }])
  const idempotency = { endpoint: 'e', key_hash: '00', fingerprint: '00' } // what was claimed must not be forgotten
  expect(await commits('admit', [{ request_id: randomUUID(), key_hash: '00', idempotency }])).toEqual([{ mode: 'on' }])
  expect(await commits('settle', [settled])).toEqual([{ mode: 'on' }])
})

test('where the owner may create no roles, the gateway logs in as the owner, and all is migrated', async () => {
  await expectOwnersLogin(db, gatewayUrl, async (sql) => {
    expect(await sql`select api.health('[{}]') ->> 'decision' as decision`).toEqual([{ decision: 'healthy' }])
  })
})
