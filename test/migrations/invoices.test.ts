// Which entries an invoice is of, what it adds up to, and that it stays so: in random histories, and case by case.

import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { FunctionName } from '../../gateway/db/functions.ts'
import { draws } from '../support/draws.ts'
import { makeClockMovable, moveClock } from '../support/movable-clock.ts'
import { newPayer, type Payer, startTestPostgres, type TestPostgres } from '../support/postgres.ts'
import { type Random, seededRandom } from '../support/random.ts'
import { publish, use } from '../support/use.ts'

let db: TestPostgres

beforeAll(async () => {
  db = await startTestPostgres(makeClockMovable)
  for (const model of ['a', 'b']) await publish(db, model, 20, 60)
})
afterAll(() => db?.stop())

const HISTORIES = draws('HISTORIES', { few: 10, all: 25 })
const STEPS = 60

const one = async <N extends FunctionName>(name: N, item: object) => (await db.ask(name, item))[0]!

/** Makes every invoice that is due, a few entries a call. */
async function closeInvoices(entries_max = 3): Promise<void> {
  while ((await one('cut_invoices', { count_max: 3 })).count > 0);
  while ((await one('sum_invoices', { entries_max })).count > 0);
}

/** What is wrong with the invoices, one line a finding; [] where every entry is in the one invoice that it belongs to. */
async function findings(account_ids: string[]): Promise<string[]> {
  const ids = `{${account_ids}}`
  const rows = await db.sql`
    with entry as (
      select e.*, case when kind in ('top_up', 'grant', 'refund', 'adjustment_credit') then 1 else -1 end * amount_nanousd as effect
      from entries e where account_id = any (${ids}::bigint[])),
    placed as (
      select e.*, i.number, i.month from entry e left join invoices i
        on i.account_id = e.account_id and e.sequence > i.after_sequence and e.sequence <= i.last_sequence),
    invoice as (select * from invoices where account_id = any (${ids}::bigint[])),
    expected as (
      select p.account_id, p.number, p.kind, coalesce(r.model, '') as model, coalesce(r.price_version, 0) as price_version,
        count(*), coalesce(sum(u.prompt_tokens), 0) as prompt_tokens, coalesce(sum(u.cached_tokens), 0) as cached_tokens,
        coalesce(sum(u.completion_tokens), 0) as completion_tokens, sum(p.effect) as amount_nanousd
      from placed p left join reservations r on r.request_id = p.request_id
        left join usage u on u.request_id = p.request_id and p.kind <> 'refund'
      where p.number is not null group by 1, 2, 3, 4, 5),
    line as (select * from invoice_lines where account_id = any (${ids}::bigint[]))
    select account_id, 'an entry is in two invoices' as finding from placed group by account_id, id having count(number) > 1
    union all select p.account_id, 'an entry of a month that is over is in none' from placed p join accounts a on a.id = p.account_id
      where number is null and p.created_at < a.invoiced_until
    union all select account_id, 'an entry is in the invoice of another month' from placed
      where number is not null and date_trunc('month', created_at, 'UTC') <> month
    union all select account_id, 'numbers have a gap' from invoice group by account_id having max(number) <> count(*)
    union all select account_id, 'it is still a draft' from invoice where closed_at is null
    union all select i.account_id, 'it does not open as the one before closed' from invoice i
      left join invoice b on b.account_id = i.account_id and b.number = i.number - 1
      where i.opening_nanousd <> coalesce(b.closing_nanousd, 0)
    union all select i.account_id, 'it does not close with the balance of its last entry' from invoice i
      where closing_nanousd <> (select sum(effect) from entry e where e.account_id = i.account_id and e.sequence <= i.last_sequence)
    union all select i.account_id, 'its lines do not add up' from invoice i
      where closing_nanousd - opening_nanousd <>
        (select sum(amount_nanousd) from line l where l.account_id = i.account_id and l.number = i.number)
    union all select coalesce(l.account_id, e.account_id), 'a line is not the sum of its entries' from line l
      full join expected e using (account_id, number, kind, model, price_version)
      where (l.count, l.prompt_tokens, l.cached_tokens, l.completion_tokens, l.amount_nanousd) is distinct from
        (e.count, e.prompt_tokens, e.cached_tokens, e.completion_tokens, e.amount_nanousd)`
  return rows.map(({ account_id, finding }) => `account ${account_id}: ${finding}`)
}

const CREDIT = 1_000_000n

async function step(random: Random, payers: Payer[], requests: Map<string, Payer>): Promise<void> {
  const payer = random.pick(payers)
  const { account_id } = payer
  const [reference, amount_nanousd] = [randomUUID(), String(1 + random.below(50_000))]
  const dice = random.below(20)
  if (dice < 9) {
    const model = random.pick(['a', 'b'])
    const pause = async () => {
      if (random.chance(0.3)) await moveClock(db.sql, `${random.below(50)} seconds`) // some settle after their hour
    }
    requests.set(await use(db, payer, model, [random.below(30), 1 + random.below(30)], pause), payer)
  } else if (dice < 11) await one('top_up', { account_id, amount_nanousd, reference })
  else if (dice < 12) {
    const [request_id, owner] = random.pick([...requests, [randomUUID(), payer] as const])
    await one('refund', { account_id: owner.account_id, request_id, amount_nanousd: null, reference, note: null })
  } else if (dice < 13) {
    const direction = random.pick(['credit', 'debit'])
    await one('adjust', {
      account_id,
      direction,
      amount_nanousd,
      reference,
      note: 'n',
      may_overdraw: random.chance(0.3),
    })
  } else if (dice < 14) {
    const [{ now }] = (await db.sql`select clock_timestamp() + interval '9 days' as now`) as never as [{ now: Date }]
    await one('give_grant', { account_id, amount_nanousd, reference, expires_at: now.toISOString(), note: null })
  } else if (dice < 15) await one('expire_due_grants', { count_max: 10 })
  else if (dice < 16) await publish(db, random.pick(['a', 'b']), random.below(30), random.below(90))
  else if (dice < 17) await moveClock(db.sql, `${random.below(20 * 24)} hours`)
  else if (dice < 19) await one('cut_invoices', { count_max: 1 + random.below(3) })
  else await one('sum_invoices', { entries_max: 1 + random.below(5) })
}

test(`in ${HISTORIES} random histories every entry is in the one invoice of its month, and every sum is exact`, async () => {
  const random = seededRandom()
  let invoice_count = 0
  for (let history = 0; history < HISTORIES; history += 1) {
    const payers = await Promise.all([0, 1, 2].map(() => newPayer(db, CREDIT)))
    const requests = new Map<string, Payer>()
    const steps = Array.from({ length: STEPS }, () => () => step(random, payers, requests))
    const worker = async () => {
      for (let next = steps.pop(); next; next = steps.pop()) await next()
    }
    await Promise.all([worker(), worker(), worker(), worker()])
    await moveClock(db.sql, '32 days')
    await Promise.all([closeInvoices(), closeInvoices()]) // two crons at once
    const ids = payers.map(({ account_id }) => account_id)
    expect(await findings(ids), `seed ${random.seed}, history ${history}`).toEqual([])
    const [{ count }] =
      (await db.sql`select count(*)::int from invoices where account_id = any (${`{${ids}}`}::bigint[])`) as never as [
        { count: number },
      ]
    invoice_count += count
  }
  expect(invoice_count).toBeGreaterThan(HISTORIES * 3)
  const kinds = await db.sql`select kind, sum(count)::int as count from invoice_lines group by kind`
  const count_of = new Map(kinds.map(({ kind, count }) => [kind, count]))
  console.log(`${invoice_count} invoices: ${Array.from(count_of, ([kind, count]) => `${kind} ${count}`).join(', ')}`)
  for (const kind of ['usage', 'refund', 'grant_expiry', 'adjustment_debit'])
    expect(count_of.get(kind), kind).toBeGreaterThan(0)
})

describe('an invoice', () => {
  test('of a month without entries does not exist, and its number is not missing', async () => {
    const payer = await newPayer(db, CREDIT)
    await moveClock(db.sql, '100 days')
    await one('top_up', { account_id: payer.account_id, amount_nanousd: '1', reference: randomUUID() })
    await moveClock(db.sql, '32 days')
    await closeInvoices()
    const rows =
      await db.sql`select number, after_sequence, last_sequence from invoices where account_id = ${payer.account_id} order by number`
    expect(rows.map(({ number, after_sequence, last_sequence }) => [number, after_sequence, last_sequence])).toEqual([
      [1, '0', '1'],
      [2, '1', '2'],
    ])
  })

  test('has the usage that was settled after its month in the next', async () => {
    const payer = await newPayer(db, CREDIT)
    await use(db, payer, 'a', [1, 1], () => moveClock(db.sql, '32 days'))
    await closeInvoices()
    await moveClock(db.sql, '32 days')
    await closeInvoices()
    const rows =
      await db.sql`select number, kind from invoice_lines where account_id = ${payer.account_id} order by number`
    expect(rows.map(({ number, kind }) => [number, kind])).toEqual([
      [1, 'top_up'],
      [2, 'usage'],
    ])
  })

  test('cannot be changed, added to or deleted once it is closed', async () => {
    const payer = await newPayer(db, CREDIT)
    await moveClock(db.sql, '32 days')
    await closeInvoices()
    const { sql } = db
    const id = payer.account_id
    await expect(sql`update invoices set closing_nanousd = 0 where account_id = ${id}`).rejects.toThrow('immutable')
    await expect(sql`update invoice_lines set amount_nanousd = 0 where account_id = ${id}`).rejects.toThrow('immutable')
    await expect(
      sql`insert into invoice_lines select account_id, number, 'usage', 'm', 1, 1, 1, 1, 1, 1 from invoices where account_id = ${id}`,
    ).rejects.toThrow('immutable')
    await expect(sql`delete from invoice_lines where account_id = ${id}`).rejects.toThrow('append-only')
    await expect(sql`delete from invoices where account_id = ${id}`).rejects.toThrow('append-only')
    await expect(sql`truncate invoice_lines`).rejects.toThrow('append-only')
  })

  test('is announced once, when it is closed', async () => {
    const payer = await newPayer(db, CREDIT)
    await moveClock(db.sql, '32 days')
    await closeInvoices()
    await closeInvoices()
    const rows =
      await db.sql`select body::jsonb -> 'data' as data from outbox where account_id = ${payer.account_id} and type = 'invoice.closed'`
    expect(rows.map(({ data }) => data)).toEqual([
      { id: `inv_${payer.account_id}_1`, opening_nanousd: '0', closing_nanousd: String(CREDIT) },
    ])
  })
})
