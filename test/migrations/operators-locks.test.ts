// What an operator holds open stops nobody for longer than it is held: whoever needs what is held hears so in time, everybody else goes
// on, no callers gather on the server, and afterwards all is as before.
//   LOCKS=400 npm test -- test/migrations/operators-locks.test.ts

import { randomUUID } from 'node:crypto'
import type postgres from 'postgres'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { migrate, readFunctions, readMigrations } from '../../local/migrate.ts'
import { newPayer, type Payer, startTestPostgres, type TestPostgres } from '../support/postgres.ts'
import { seededRandom } from '../support/random.ts'
import { publish, use } from '../support/use.ts'

const LOCKS = Number(process.env.LOCKS ?? 12)
const MODES = [
  'access share',
  'row share',
  'row exclusive',
  'share update exclusive',
  'share',
  'share row exclusive',
  'exclusive',
  'access exclusive',
]

let db: TestPostgres
let payers: Payer[]

beforeAll(async () => {
  db = await startTestPostgres()
  await publish(db, 'm', 2, 5)
  payers = [await newPayer(db, 1_000_000_000n), await newPayer(db, 1_000_000_000n)]
  for (const payer of payers) await use(db, payer, 'm', [1, 1])
  await db.sql`update nodes set last_seen_at = 'infinity'`
  // The time that a call waits for a lock is the product's own here, and not the patience of tests.
  await db.sql.begin((sql) => sql.unsafe(readFunctions().sql))
})
afterAll(() => db?.stop())

const wish = ({ key_hash }: Payer) => ({
  request_id: randomUUID(),
  key_hash,
  model: 'm',
  prompt_tokens_max: 1,
  request_output_tokens_max: 1,
  ttl_ms: 60_000,
  lock_ms_max: 100,
})

/** Holds what `take` takes until `work` has ended. */
async function holding(
  take: (sql: postgres.TransactionSql) => Promise<unknown>,
  work: () => Promise<void>,
): Promise<void> {
  await db.sql.begin(async (sql) => {
    await take(sql)
    await work()
  })
}

const gathered = async () =>
  (await db.sql`select count(*)::int as count from pg_stat_activity where wait_event_type = 'Lock'`)[0]!.count as number

test(`behind any of ${LOCKS} drawn locks on tables an admission and each duty ends, with an answer or by its own lock timeout`, async () => {
  const random = seededRandom()
  const tables = (
    await db.sql`
    select oid::regclass::text as name from pg_class
    where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') order by 1`
  ).map(({ name }) => name as string)
  const duties: [string, object][] = [
    ['expire', { count_max: 10 }],
    ['expire_due_grants', { count_max: 10 }],
    ['add_usage_months', { months_ahead: 2 }],
    ['forget_requests', { count_max: 10 }],
    ['cut_invoices', { count_max: 10 }],
    ['sum_invoices', { entries_max: 10 }],
    ['reconcile', { after: '0', entries_max: 100, anew: false }],
  ]
  for (let n = 0; n < LOCKS; n += 1) {
    const [table, mode] = [random.pick(tables), random.pick(MODES)]
    const calls: [string, object][] = [['admit', wish(payers[0]!)], random.pick(duties)]
    await holding(
      (sql) => sql.unsafe(`lock table ${table} in ${mode} mode`),
      async () => {
        for (const [name, item] of calls) {
          const code = await db.ask(name as 'admit', item).then(
            () => 'answered',
            (error) => error.code,
          )
          expect(['answered', '55P03'], `${name} behind ${mode} on ${table}`).toContain(code)
        }
        expect(await gathered()).toBe(0)
      },
    )
    const [answer] = await db.ask('admit', wish(payers[0]!))
    expect(answer, `after ${mode} on ${table}`).toMatchObject({ decision: 'admitted' })
  }
})

test('behind a lock on one account the others of the same call are admitted, settled and expired', async () => {
  const [held, free] = payers as [Payer, Payer]
  const settled = async (payer: Payer) => {
    const item = wish(payer)
    const [admitted] = await db.ask('admit', item)
    const counts = { prompt_tokens: 1, cached_tokens: 0, completion_tokens: 1, delivered_tokens: 1, outcome: 'stop' }
    const times = { started_unix_ms: 0, first_token_ms: 1, duration_ms: 1 }
    return { ...admitted, request_id: item.request_id, model: 'm', attempt: 1, lock_ms_max: 100, ...counts, ...times }
  }
  const records = [await settled(held), await settled(free), await settled(held)]
  const due = [wish(held), wish(free)]
  await db.ask('admit', ...due.map((item) => ({ ...item, ttl_ms: 0 })))
  await holding(
    (sql) => sql`select from accounts where id = ${held.account_id} for update`,
    async () => {
      const decisions = async (name: 'admit' | 'settle', items: object[]) =>
        (await db.ask(name, ...items)).map(({ decision }) => decision)
      const nobodys = { ...wish(free), key_hash: '0011' }
      expect(await decisions('admit', [wish(held), wish(free), nobodys, wish(held), wish(free)])).toEqual([
        'locked',
        'admitted',
        'unknown_key',
        'locked',
        'admitted',
      ])
      expect(await decisions('settle', records)).toEqual(['locked', 'posted', 'locked'])
      // Whoever cannot hear `locked` hears that nothing was done.
      const { lock_ms_max: _, ...old } = wish(free)
      await expect(db.ask('admit', wish(held), old)).rejects.toMatchObject({ code: '55P03' })
      expect(await db.ask('expire', { count_max: 10 })).toEqual([{ decision: 'expired', count: 1 }])
    },
  )
  expect((await db.ask('settle', ...records)).map(({ decision }) => decision)).toEqual([
    'posted',
    'duplicate',
    'posted',
  ])
  expect(await db.ask('expire', { count_max: 10 })).toEqual([{ decision: 'expired', count: 1 }])
})

test('months of usage are not made while somebody reads it, and are afterwards', async () => {
  const months = () => db.sql`select count(*)::int as count from pg_inherits where inhparent = 'usage'::regclass`
  const [{ count: before }] = (await months()) as unknown as [{ count: number }]
  await holding(
    (sql) => sql`lock table usage_default in access share mode`,
    async () => {
      expect(await db.ask('add_usage_months', { months_ahead: 9 })).toEqual([{ decision: 'locked' }])
    },
  )
  expect(await db.ask('add_usage_months', { months_ahead: 9 })).toEqual([{ decision: 'added' }])
  expect((await months())[0]!.count).toBe(before + 7)
})

test('a migration that needs what somebody holds lets admissions through, says whose it is, and ends once it is free', async () => {
  const said: string[] = []
  const change = 'alter table accounts add column held_by_test int'
  const set = [...readMigrations(), { name: 'held.sql', sql: change, checksum: change }]
  let migrating: Promise<string[]> | undefined
  await holding(
    (sql) => sql`select count(*) from accounts`,
    async () => {
      migrating = migrate(db.url, set, readFunctions(), null, (line) => said.push(line))
      await expect.poll(() => said.length, { timeout: 60_000 }).toBe(1)
      // It gives all its locks back between its tries, each of which is shorter than anybody's patience.
      await expect
        .poll(
          () =>
            db.ask('admit', wish(payers[0]!)).then(
              ([answer]) => answer!.decision,
              () => null,
            ),
          { timeout: 60_000 },
        )
        .toBe('admitted')
    },
  )
  expect(await migrating).toContain('held.sql')
  expect(said).toEqual([
    expect.stringMatching(/^ {2}waiting: process \d+ of postgres \(idle in transaction\) holds a lock/),
  ])
})
