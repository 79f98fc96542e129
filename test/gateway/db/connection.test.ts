// A connection to a real Postgres: what is given up ends there too, and the error says whether anything happened.

import postgres from 'postgres'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { connect, NoAnswer, StatementRefused, StatementUndone } from '../../../gateway/db/connection.ts'
import { startTestPostgres, type TestPostgres } from '../../support/postgres.ts'

let db: TestPostgres

beforeAll(async () => {
  db = await startTestPostgres()
  await db.sql.unsafe(`
    create function api.sleep(items jsonb) returns setof jsonb language plpgsql as $$
    begin
      perform pg_sleep((items -> 0 ->> 'ms')::float / 1000);
      insert into done default values;
      return query select '{"decision": "done"}'::jsonb from jsonb_array_elements(items);
    end $$;
    create function api.give_up(items jsonb) returns setof jsonb language plpgsql as $$
    begin
      insert into done default values;
      raise exception 'canceling statement due to statement timeout' using errcode = 'query_canceled';
    end $$;
    create function api.timeout(items jsonb) returns setof jsonb language sql as $$
      select jsonb_build_object('ms', current_setting('statement_timeout')) from jsonb_array_elements(items)
    $$;
    create table done (at timestamptz default clock_timestamp());`)
})
afterAll(() => db?.stop())

const active = () =>
  db.sql`select pid from pg_stat_activity where state = 'active' and query like '%api.sleep%' and pid <> pg_backend_pid()`

test('a call has an end of its own on the server, a little before its caller’s, and nothing of it after the transaction', async () => {
  const connection = connect(db.url, 5000)
  expect(await connection.call('timeout', [{}, {}])).toEqual([{ ms: '4500ms' }, { ms: '4500ms' }])
  connection.discard()
  const sql = postgres(db.url, { max: 1, fetch_types: false })
  await sql.unsafe('set local statement_timeout = 4500; select 1')
  expect(await sql`show statement_timeout`).toEqual([{ statement_timeout: '0' }])
  await sql.end()
})

test('one that the server gave up for its time is undone for certain, and the connection goes on', async () => {
  const connection = connect(db.url, 20_000)
  await expect(connection.call('give_up', [{}])).rejects.toBeInstanceOf(StatementUndone)
  expect(await db.sql`select from done`).toHaveLength(0)
  expect(await connection.call('timeout', [{}])).toHaveLength(1)
  connection.discard()
})

test('one that takes too long ends on the server, whether or not its caller hears of it', async () => {
  const connection = connect(db.url, 300)
  await expect(connection.call('sleep', [{ ms: 60_000 }])).rejects.toBeInstanceOf(Error)
  await expect.poll(active, { timeout: 20_000 }).toHaveLength(0)
  expect(await db.sql`select from done`).toHaveLength(0)
  connection.discard()
})

test('one whose connection is thrown away has ended on the server by its deadline', async () => {
  const connection = connect(db.url, 1000)
  const call = connection.call('sleep', [{ ms: 60_000 }]).catch((error: unknown) => error)
  await expect.poll(active, { timeout: 20_000 }).toHaveLength(1)
  connection.discard()
  await expect.poll(active, { timeout: 20_000 }).toHaveLength(0)
  expect(await call).toBeInstanceOf(Error)
})

test('what the database refuses, gives up and leaves unknown are three things', async () => {
  const connection = connect(db.url, 5000)
  await expect(connection.call('sleep', [{ ms: 'x' }])).rejects.toBeInstanceOf(StatementRefused)
  await db.sql.begin(async (sql) => {
    await sql`lock table done`
    const waits = connect(db.url, 5000)
    await expect(waits.call('timeout', [{}])).resolves.toHaveLength(1)
    const locked = connect(`${db.url}?options=-c%20lock_timeout%3D50`, 5000)
    await expect(locked.call('sleep', [{ ms: 0 }])).rejects.toBeInstanceOf(StatementUndone)
    for (const one of [waits, locked]) one.discard()
  })
  connection.discard()
  const nowhere = connect('postgres://x:y@127.0.0.1:1/z', 300)
  await expect(nowhere.call('timeout', [{}])).rejects.not.toBeInstanceOf(StatementUndone)
  nowhere.discard()
  expect(new NoAnswer('')).not.toBeInstanceOf(StatementUndone)
})
