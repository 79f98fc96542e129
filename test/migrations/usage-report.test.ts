// A report reads the days of one account, never all of them and never single requests; a month's partition is made before it begins.

import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { newPayer, type Payer, startTestPostgres, type TestPostgres } from '../support/postgres.ts'
import { seededRandom } from '../support/random.ts'
import { type Reader, startReader } from '../support/reader.ts'

const DAYS = 400
const ACCOUNTS = 200

let db: TestPostgres
let reader: Reader
let payer: Payer

beforeAll(async () => {
  db = await startTestPostgres()
  reader = await startReader(db)
  payer = await newPayer(db, 1n)
  await db.sql`insert into accounts (name, created_by) select 'x', gen_random_uuid() from generate_series(1, ${ACCOUNTS})`
  await db.sql`insert into keys (account_id, name, hash, prefix, last_four, scopes)
    select id, 'x', sha256(id::text::bytea), '', '', array['usage'] from accounts where name = 'x'`
  await db.sql`insert into usage_daily
    select account_id, date '2026-01-01' + day, id, 'm' || model, 1, 2, 30, 10, 7, 100
    from keys, generate_series(0, ${DAYS - 1}) as day, generate_series(1, 2) as model`
  await db.sql`analyze`
})
afterAll(() => db?.stop())

async function scans(): Promise<Record<string, number>> {
  const rows = await db.sql`
    select relname, seq_scan::int from pg_stat_user_tables where relname in ('usage_daily', 'usage', 'reservations', 'entries')`
  return Object.fromEntries(rows.map(({ relname, seq_scan }) => [relname, seq_scan]))
}

async function indexScans(): Promise<number> {
  const [row] = await db.sql`select idx_scan::int from pg_stat_user_tables where relname = 'usage_daily'`
  return row!.idx_scan
}

test('a report over a year reads by index alone, and its sums are right', async () => {
  await db.sql`select pg_stat_force_next_flush()`
  const before = await scans()
  const before_indexed = await indexScans()
  const { account_id } = payer
  const span = { account_id, from: '2026-01-01', to: '2027-01-01', rows_max: 100 }
  const sums = {
    requests: 730,
    prompt_tokens: 10_950,
    cached_tokens: 3650,
    completion_tokens: 2555,
    cost_nanousd: 36500n,
    refunded_nanousd: 0n,
  }
  const models = [
    { model: 'm1', ...sums },
    { model: 'm2', ...sums },
  ]
  expect(await reader.read('sum_usage', { ...span, group_by: ['model'] })).toEqual(models)
  const tagged = models.map(({ model, ...rest }) => ({ key_id: BigInt(payer.key_id), model, tag: '', ...rest }))
  expect(await reader.read('sum_usage', { ...span, group_by: ['model', 'tag', 'key'] })).toEqual(tagged)
  reader.stop() // a connection tells what it scanned when it ends
  await vi.waitFor(async () => expect(await indexScans()).toBeGreaterThan(before_indexed), 5000)
  expect(await scans()).toEqual(before)
  const [plan] = await db.sql`
    explain (format json) select sum(cost_nanousd) from usage_daily
    where account_id = ${payer.account_id} and day >= '2026-01-01' and day < '2027-01-01'`
  expect(JSON.stringify(plan)).not.toContain('Seq Scan')
})

test('a key’s usage counts under each of its tags, and every grouping has the sums of plain arithmetic', async () => {
  const random = seededRandom()
  const read = await startReader(db)
  const { account_id, key_id } = await newPayer(db, 1n)
  const tags = new Map([[key_id, ['']]]) // without any
  for (const given of [['one'], ['one', 'two'], ["it's", '\\']]) {
    const [key] = await db.sql`insert into keys (account_id, name, hash, prefix, last_four, scopes, tags)
      values (${account_id}, 'x', sha256(gen_random_uuid()::text::bytea), '', '', '{}', string_to_array(${given.join(' ')}, ' ')) returning id`
    tags.set(String(key!.id), given)
  }
  const days = ['2026-01-31', '2026-02-01', '2026-02-02', '2026-03-01']
  const used = days.flatMap((day) =>
    [...tags.keys()].flatMap((key_id) =>
      ['m1', 'm2'].map((model) => ({ day, key_id, model, cost: random.below(1000) })),
    ),
  )
  for (const { day, key_id, model, cost } of used)
    await db.sql`insert into usage_daily values (${account_id}, ${day}, ${key_id}, ${model}, 1, 1, 2, 3, 4, ${cost})`
  for (const group_by of groupings) {
    const wanted = new Map<string, bigint>()
    for (const { cost, ...one } of used.filter(({ day }) => day >= '2026-02-01' && day < '2026-03-01'))
      for (const tag of group_by.includes('tag') ? tags.get(one.key_id)! : [null]) {
        const names = { ...one, key: one.key_id, tag }
        const place = JSON.stringify(order.filter((group) => group_by.includes(group)).map((group) => names[group]))
        wanted.set(place, (wanted.get(place) ?? 0n) + BigInt(cost))
      }
    const span = { account_id, from: '2026-02-01', to: '2026-03-01', rows_max: 1000 }
    const rows = await read.read('sum_usage', { ...span, group_by })
    const told = rows.map(({ day, key_id, model, tag, cost_nanousd }: Told) => {
      const names = { day, key: key_id?.toString(), model, tag }
      return [JSON.stringify(Object.values(names).filter((name) => name !== undefined)), cost_nanousd]
    })
    expect(told).toEqual([...wanted].toSorted(byGroups))
    expect(await read.read('sum_usage', { ...span, group_by, rows_max: 2 })).toEqual(rows.slice(0, 2))
  }
  read.stop()
})

const order = ['day', 'key', 'model', 'tag'] as const
const groupings = Array.from({ length: 15 }, (_, n) => order.filter((_, i) => ((n + 1) >> i) & 1))

interface Told {
  day?: string
  key_id?: bigint
  model?: string
  tag?: string
  cost_nanousd: bigint
}

function byGroups([a]: [string, bigint], [b]: [string, bigint]): number {
  const [left, right] = [JSON.parse(a) as string[], JSON.parse(b) as string[]]
  const at = left.findIndex((name, i) => name !== right[i])
  return at < 0 ? 0 : left[at]! < right[at]! ? -1 : 1
}

test('a receipt and a page of requests, from anywhere in the list, are read by index alone', async () => {
  const requests = 300
  await db.sql`insert into prices values ('listed', 1, 1, 1, clock_timestamp(), 1)`
  await db.sql`insert into reservations
    (request_id, account_id, key_id, model, price_version, amount_nanousd, attempt, state, created_at, expires_at)
    select gen_random_uuid(), ${payer.account_id}, ${payer.key_id}, 'listed', 1, 1, 1, 'pending', now() - n / 2 * interval '1 second', now()
    from generate_series(1, ${requests}) as n`
  await db.sql`analyze`
  await db.sql`select pg_stat_force_next_flush()`
  const before = await scans()
  const seen: string[] = []
  await db.sql.begin(async (sql) => {
    await sql`set local enable_seqscan = off` // these tables are small, and reading all of one may be the cheapest here
    const ask = async (name: string, item: object) => {
      const [row] =
        await sql`select ${sql(`api.${name}`)}(${JSON.stringify([{ key_hash: payer.key_hash, ...item }])}::text::jsonb) as answer`
      return row!.answer.usage
    }
    for (let after: string | null = null; ; after = seen.at(-1)!) {
      const page = (await ask('list_usage', { limit: 49, after })) as { request_id: string }[]
      seen.push(...page.slice(0, 49).map(({ request_id }) => request_id))
      if (page.length < 50) break
    }
    await ask('read_usage', { request_id: seen[0] })
  })
  expect(new Set(seen).size).toBe(requests)
  expect(seen.length).toBe(requests)
  for (let i = 0; i < 8; i += 1) await db.sql`select pg_stat_force_next_flush()`
  expect(await scans()).toEqual(before)
})

test('the partitions of this month and the next two are there, and rows that came before theirs are moved into it', async () => {
  const [{ count }] = (await db.sql`
    select count(*)::int from pg_inherits where inhparent = 'usage'::regclass`) as unknown as [{ count: number }]
  expect(count).toBe(4) // and the default one
  // A request that is settled long before its month was made.
  await db.sql`insert into prices values ('m', 1, 1, 1, clock_timestamp(), 1)`
  await db.sql`insert into reservations
    (request_id, account_id, key_id, model, price_version, amount_nanousd, attempt, state, expires_at, closed_at, settled_at)
    values ('00000000-0000-4000-8000-000000000001', ${payer.account_id}, ${payer.key_id}, 'm', 1, 1, 1, 'posted', now(), now(), '2031-05-15')`
  await db.sql`insert into usage values
    ('00000000-0000-4000-8000-000000000001', ${payer.account_id}, 1, 1, 0, 1, 1, 'stop', now(), 1, 1, 1, '2031-05-15')`
  const where = async () =>
    (await db.sql`select tableoid::regclass::text as name from usage where settled_at >= '2031-01-01'`)[0]!.name
  expect(await where()).toBe('usage_default')
  await db.sql`select ledger.add_usage_month('2031-05-01')`
  expect(await where()).toBe('usage_2031_05')
})
