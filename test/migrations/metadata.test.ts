// Sums by metadata have a bound: what goes beyond it is in no row of its own, the name says so, and every sum stays right.

import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { ledgerFindings, newPayer, type Payer, startTestPostgres, type TestPostgres } from '../support/postgres.ts'
import { type Reader, startReader } from '../support/reader.ts'
import { publish, useTogether } from '../support/use.ts'

let db: TestPostgres
let reader: Reader

beforeAll(async () => {
  db = await startTestPostgres()
  await publish(db, 'm', 40, 60)
  await db.sql.unsafe(`
    create or replace function ledger.metadata_names_max() returns int language sql immutable as 'select 2';
    create or replace function ledger.metadata_rows_max() returns int language sql immutable as 'select 3'`)
  reader = await startReader(db)
})
afterAll(async () => {
  reader?.stop()
  await db?.stop()
})

const use = (payer: Payer, ...more: object[]) => useTogether(db, payer, 'm', more)
const span = { from: '2000-01-01', to: '3000-01-01' }

async function values({ account_id }: Payer, name: string) {
  const rows = await reader.read('sum_usage', {
    ...{ account_id, ...span, metadata: { name }, rows_max: 100 },
    group_by: ['metadata'],
  })
  return rows.map(({ value, requests }: { value?: string | null; requests: number }) => [value, requests])
}

async function isFull({ account_id }: Payer, name: string): Promise<boolean> {
  return (await reader.read('find_full_metadata', { account_id, ...span, name })).length > 0
}

test('values and names beyond the most count among those without one', async () => {
  const payer = await newPayer(db, 10_000_000n)
  for (const run of ['1', '2', '3']) await use(payer, { metadata: { run, team: 'a' } })
  expect(await isFull(payer, 'run')).toBe(false)
  for (const run of ['4', '3', '5', '1']) await use(payer, { metadata: { run, team: 'b' } })
  expect(await values(payer, 'run')).toEqual([
    ['1', 2],
    ['2', 1],
    ['3', 2],
    [null, 2],
  ])
  expect(await values(payer, 'team')).toEqual([
    ['a', 3],
    ['b', 4],
  ])
  expect([await isFull(payer, 'run'), await isFull(payer, 'team')]).toEqual([true, false])
  await use(payer, { metadata: { third: 'x' } })
  expect(await values(payer, 'third')).toEqual([[null, 8]])
  expect(await isFull(payer, 'third')).toBe(true)
})

test('requests that are settled together are bounded as those one by one', async () => {
  const payer = await newPayer(db, 10_000_000n)
  const all = Array.from({ length: 6 }, (_, i) => ({ metadata: { run: String(i % 5), [`n${i}`]: '' } }))
  await use(payer, ...all)
  const [row] =
    await db.sql`select count(*)::int as rows from usage_metadata_daily where account_id = ${payer.account_id}`
  expect(row!.rows).toBeLessThanOrEqual(2 * 3)
  const total = (await values(payer, 'run')).reduce((sum, [, requests]) => sum + Number(requests), 0)
  expect(total).toBe(6)
})

test('a request that gives none writes none', async () => {
  const payer = await newPayer(db, 10_000_000n)
  await use(payer, {})
  for (const table of ['usage_metadata_daily', 'usage_metadata_names'])
    expect(await db.sql`select from ${db.sql(table)} where account_id = ${payer.account_id}`).toHaveLength(0)
  expect(await ledgerFindings(db.sql, [payer.account_id])).toEqual([])
})

test('a refund comes off each value of its request', async () => {
  const payer = await newPayer(db, 10_000_000n)
  const [request_id] = await use(payer, { metadata: { team: 'a', env: 'x' } })
  await use(payer, { metadata: { team: 'b', env: 'x' } })
  const refund = { account_id: payer.account_id, request_id, amount_nanousd: '7', reference: randomUUID() }
  await db.ask('refund', { operator: true, ...refund })
  const rows = await db.sql`
    select name, value, refunded_nanousd::int as refunded from usage_metadata_daily
    where account_id = ${payer.account_id} order by 1, 2`
  expect(rows.map(({ name, value, refunded }) => [name, value, refunded])).toEqual([
    ['env', 'x', 7],
    ['team', 'a', 7],
    ['team', 'b', 0],
  ])
  expect(await ledgerFindings(db.sql, [payer.account_id])).toEqual([])
})
