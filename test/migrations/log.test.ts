// What Postgres writes into its own log, as it is set up on this machine: nothing of a customer's, whatever fails or is cut.

import { randomUUID } from 'node:crypto'
import { readFileSync, statSync } from 'node:fs'
import type postgres from 'postgres'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { connect as connectLane } from '../../gateway/db/connection.ts'
import { functions } from '../../gateway/db/functions.ts'
import { gatewayUrl } from '../../local/gateway-login.ts'
import { close, connect } from '../support/logins.ts'
import { startTestPostgres, type TestPostgres } from '../support/postgres.ts'

let db: TestPostgres
let gateway: postgres.Sql
let url: string

beforeAll(async () => {
  db = await startTestPostgres()
  url = await gatewayUrl(db.sql, db.url)
  gateway = connect(url)
})
afterAll(() => close(gateway, db))

const log = () => readFileSync(`${db.data_dir}.log`, 'utf8')

test('only who runs the database may read it', () => {
  expect(statSync(`${db.data_dir}.log`).mode & 0o777).toBe(0o600)
})

test('no canary of an item, a literal or a row is in it, however a statement fails', async () => {
  const canary = `canary-${randomUUID()}`
  const items = [
    { request_id: canary, key_hash: canary, account_id: canary, idempotency: { endpoint: canary, key_hash: canary } },
    { request_id: randomUUID(), key_hash: '00', address: canary, name: canary, operator: true, account_id: '1' },
    { name: `${canary}\u0000`, request_id: randomUUID(), key_hash: '00', operator: true, created_by: randomUUID() },
    { reference: canary.repeat(1000), operator: true, account_id: '1', amount_nanousd: canary, endpoint: canary },
  ]
  const lane = connectLane(url, 10_000)
  let failed = 0
  for (const name of Object.keys(functions))
    for (const item of items)
      await lane.call(name, [item]).catch(() => {
        failed += 1
      })
  lane.discard()
  for (const statement of [
    `select '${canary}'::int`,
    `syntax ${canary}`,
    `select * from keys where name = '${canary}'`,
  ])
    await gateway.unsafe(statement).catch(() => {
      failed += 1
    })
  await db.sql.unsafe(`insert into accounts (name, created_by) values ('${canary}', null)`).catch(() => {
    failed += 1
  })
  expect(failed).toBeGreaterThan(50)
  expect(log()).not.toContain(canary)
})

test('nor where it is cut: by its time, by an operator, with its connection, or in a deadlock', async () => {
  const canary = `canary-${randomUUID()}`
  const cut = connect(url)
  const sleeping = (ms: number) => `set statement_timeout = ${ms}; select pg_sleep(5), '${canary}'`
  await expect(cut.unsafe(sleeping(20))).rejects.toMatchObject({ code: '57014' })
  const own = connect(url)
  const slept = own.unsafe(sleeping(0)).catch((error: unknown) => error)
  await expect
    .poll(
      () =>
        db.sql`select pid from pg_stat_activity where query like '%pg_sleep(5)%' and state = 'active' and pid <> pg_backend_pid()`,
    )
    .toHaveLength(1)
  await db.sql`select pg_terminate_backend(pid) from pg_stat_activity where query like '%pg_sleep(5)%' and pid <> pg_backend_pid()`
  expect(await slept).toBeInstanceOf(Error)
  await deadlock(canary)
  await Promise.all([cut, own].map((sql) => sql.end({ timeout: 1 })))
  expect(log()).not.toContain(canary)
})

/** Two statements that wait for each other, with the canary in both; one of them fails. */
async function deadlock(canary: string): Promise<void> {
  await db.sql`create table places (id int primary key, name text)`
  await db.sql`insert into places values (1, ''), (2, '')`
  const sides = [connect(db.url), connect(db.url)]
  const lock = (sql: postgres.Sql, id: number) => sql.unsafe(`update places set name = '${canary}' where id = ${id}`)
  for (const [i, sql] of sides.entries()) {
    await sql.unsafe('begin; set local deadlock_timeout = 20')
    await lock(sql, i + 1)
  }
  const outcomes = await Promise.allSettled([lock(sides[0]!, 2), lock(sides[1]!, 1)])
  expect(outcomes.filter(({ status }) => status === 'rejected')).toHaveLength(1)
  await Promise.all(sides.map((sql) => sql.end({ timeout: 1 })))
}
