// Invoices as documents: parties and tax are those of the month's end and never change; what comes back later is a credit note's. And
// where refunds go, case by case (refund-histories.test.ts has them at random).

import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { FunctionName } from '../../gateway/db/functions.ts'
import { makeClockMovable, moveClock } from '../support/movable-clock.ts'
import { ledgerFindings, newPayer, type Payer, startTestPostgres, type TestPostgres } from '../support/postgres.ts'
import { publish, use } from '../support/use.ts'

let db: TestPostgres
let payer: Payer

beforeAll(async () => {
  db = await startTestPostgres(makeClockMovable)
  await publish(db, 'm', 40, 60)
})
afterAll(() => db?.stop())
beforeEach(async () => {
  payer = await newPayer(db, 1_000_000n)
})

const COST = 670n // 10 tokens in, 5 of them cached, and 7 out
const operator = { operator: true as const }
const one = async <N extends FunctionName>(name: N, item: object) => (await db.ask(name, item))[0]!
const buy = () => use(db, payer, 'm', [10, 7])
const refund = (request_id: string, amount_nanousd: bigint | null = null) =>
  one('refund', {
    account_id: payer.account_id,
    request_id,
    amount_nanousd: amount_nanousd && String(amount_nanousd),
    reference: randomUUID(),
  })
const buyer = (fields: object) => one('update_buyer_data', { ...operator, account_id: payer.account_id, fields })
const seller = (fields: object) => one('set_seller', { ...operator, fields })

async function endMonth() {
  await moveClock(db.sql, '32 days')
  while ((await one('cut_invoices', { count_max: 50 })).count > 0);
  while ((await one('sum_invoices', { entries_max: 3 })).count > 0);
}

const invoice = async (number: number) =>
  (await one('read_invoice', { ...operator, account_id: payer.account_id, number })).invoice
const note = async (number: number) =>
  (await one('read_credit_note', { ...operator, account_id: payer.account_id, number })).credit_note

async function grant(amount: bigint, days: number): Promise<string> {
  const [row] = await db.sql`select clock_timestamp() + ${`${days} days`}::interval as at`
  const item = { account_id: payer.account_id, amount_nanousd: String(amount), reference: randomUUID() }
  return (await one('give_grant', { ...item, expires_at: (row!.at as Date).toISOString() })).entry_id
}

async function leftOf(grant_id: string): Promise<bigint> {
  const [row] =
    await db.sql`select amount_nanousd - spent_nanousd - expired_nanousd as left from grants where entry_id = ${grant_id}`
  return BigInt(row!.left)
}

async function balance(): Promise<bigint> {
  return BigInt((await one('read_balance', { ...operator, account_id: payer.account_id })).balance_nanousd)
}

describe('an invoice', () => {
  test('is of the seller, the buyer and the tax of its month’s end, whatever they are later', async () => {
    await seller({ name: 'Ziya Ltd', address: '1 High Street\nLondon', country: 'GB', tax_id: 'GB123' })
    await buyer({ name: 'Ada GmbH', address: 'Weg 2', country: 'DE', tax_id: 'DE456', tax_rate_ppm: 190_000 })
    for (let i = 0; i < 3; i += 1) await buy()
    await endMonth()
    const closed = await invoice(1)
    const gross = 3n * COST
    const tax = (gross * 190_000n * 2n + 1_190_000n) / (2n * 1_190_000n)
    expect(closed).toMatchObject({
      account_name: 'Ada GmbH',
      seller: { name: 'Ziya Ltd', address: '1 High Street\nLondon', country: 'GB', tax_id: 'GB123' },
      buyer: { name: 'Ada GmbH', address: 'Weg 2', country: 'DE', tax_id: 'DE456' },
      tax_lines: [
        {
          name: 'VAT',
          rate_ppm: 190_000,
          gross_nanousd: String(gross),
          net_nanousd: String(gross - tax),
          tax_nanousd: String(tax),
          note: null,
        },
      ],
    })
    await seller({ name: 'Ziya Inc', country: 'US' })
    await buyer({ name: 'Somebody else', tax_rate_ppm: 70_000, address: null })
    await db.sql`update accounts set name = 'renamed' where id = ${payer.account_id}`
    expect(await invoice(1)).toEqual(closed)
    for (const column of ['seller', 'buyer', 'tax'])
      await expect(
        db.sql.unsafe(`update invoices set ${column} = '{}' where account_id = ${payer.account_id}`),
      ).rejects.toThrow('immutable')
    await buy()
    await endMonth()
    expect(await invoice(2)).toMatchObject({
      seller: { name: 'Ziya Inc' },
      buyer: { name: 'Somebody else', address: null },
      tax_lines: [{ rate_ppm: 70_000 }],
    })
  })

  test('without any of that is of the account by its name, and tells of no tax', async () => {
    await buy()
    await endMonth()
    expect(await invoice(1)).toMatchObject({
      account_name: 'payer',
      buyer: { name: 'payer', address: null, tax_id: null },
      tax_lines: [],
    })
  })

  test('under reverse charge says so, and needs the buyer’s tax id', async () => {
    expect((await buyer({ is_reverse_charge: true })).decision).toBe('reverse_charge_needs_tax_id')
    expect((await buyer({ is_reverse_charge: true, tax_id: 'FR1', tax_rate_ppm: 1 })).decision).toBe(
      'reverse_charge_needs_tax_id',
    )
    await buyer({ is_reverse_charge: true, tax_id: 'FR1', country: 'FR' })
    await buy()
    await endMonth()
    expect((await invoice(1)).tax_lines).toEqual([
      {
        name: 'VAT',
        rate_ppm: 0,
        gross_nanousd: String(COST),
        net_nanousd: String(COST),
        tax_nanousd: '0',
        note: 'Reverse charge: the recipient accounts for the tax.',
      },
    ])
  })

  test('taxes neither what grants paid nor what came back in its month', async () => {
    await buyer({ tax_rate_ppm: 1_000_000 })
    await grant(COST + 100n, 5)
    await buy()
    const second = await buy() // 100 of the grant, the rest of money
    await refund(second, 70n) // of the money
    await endMonth()
    expect((await invoice(1)).tax_lines).toMatchObject([
      { gross_nanousd: '500', net_nanousd: '250', tax_nanousd: '250' },
    ])
  })
})

describe('a credit note', () => {
  test('is made of a refund after the month, with the tax of the invoice and a number of its own', async () => {
    await buyer({ name: 'Ada', tax_rate_ppm: 250_000 })
    const [a, b] = [await buy(), await buy()]
    await endMonth()
    const closed = await invoice(1)
    await buyer({ tax_rate_ppm: 1_000_000, name: 'Eve' })
    await buy()
    await refund(a, 100n)
    await refund(b)
    expect(await note(1)).toMatchObject({
      id: `cn_${payer.account_id}_1`,
      invoice_id: `inv_${payer.account_id}_1`,
      request_id: a,
      model: 'm',
      amount_nanousd: '100',
      buyer: { name: 'Ada' },
      tax_lines: [{ rate_ppm: 250_000, gross_nanousd: '100', net_nanousd: '80', tax_nanousd: '20' }],
    })
    expect(await note(2)).toMatchObject({
      number: 2,
      amount_nanousd: String(COST),
      tax_lines: [{ tax_nanousd: String(COST / 5n) }],
    })
    expect(await invoice(1)).toEqual(closed)
    await endMonth()
    // What the notes took back of the month before is no less tax of this one.
    expect(await invoice(2)).toMatchObject({
      lines: [
        { kind: 'refund', amount_nanousd: String(COST + 100n) },
        { kind: 'usage', amount_nanousd: String(-COST) },
      ],
      tax_lines: [{ gross_nanousd: String(COST), tax_nanousd: String(COST / 2n) }],
    })
    await expect(db.sql`update credit_notes set amount_nanousd = 1`).rejects.toThrow('append-only')
    await expect(db.sql`delete from credit_notes`).rejects.toThrow('append-only')
  })

  test('is of the month in which it was charged, whichever those before and after it are', async () => {
    const charges: string[] = []
    for (let month = 0; month < 3; month += 1) {
      charges.push(await buy())
      await endMonth()
    }
    for (const charge of [charges[1]!, charges[2]!, charges[0]!]) await refund(charge)
    const notes = await Promise.all([note(1), note(2), note(3)])
    expect(notes.map(({ invoice_id }) => invoice_id)).toEqual(
      [2, 3, 1].map((number) => `inv_${payer.account_id}_${number}`),
    )
  })

  test('is one, however often the refund is asked for; in the month itself there is none', async () => {
    const [early, late] = [await buy(), await buy()]
    await refund(early)
    await endMonth()
    const item = { account_id: payer.account_id, request_id: late, amount_nanousd: '9', reference: randomUUID() }
    await db.ask('refund', item, item, item)
    const rows = await db.sql`select amount_nanousd from credit_notes where account_id = ${payer.account_id}`
    expect(rows).toEqual([{ amount_nanousd: '9' }])
  })

  test('is made of a correction by hand, and all of an invoice’s are no more than was charged in it', async () => {
    const request_id = await buy()
    await endMonth()
    await refund(request_id, 70n)
    const adjust = (amount: bigint, invoice_number = 1) =>
      one('adjust', {
        account_id: payer.account_id,
        direction: 'credit',
        amount_nanousd: String(amount),
        reference: randomUUID(),
        invoice_number,
      })
    expect(await adjust(COST - 69n)).toEqual({ decision: 'above_invoice', creditable_nanousd: String(COST - 70n) })
    expect((await adjust(1n, 2)).decision).toBe('unknown_invoice')
    expect((await adjust(COST - 70n)).decision).toBe('adjusted')
    expect(await note(2)).toMatchObject({ request_id: null, model: null, amount_nanousd: String(COST - 70n) })
    expect((await adjust(1n)).decision).toBe('above_invoice')
  })

  test('of another account looks like a missing one', async () => {
    const request_id = await buy()
    await endMonth()
    await refund(request_id)
    const stranger = await newPayer(db, 1n)
    const asked = { key_hash: stranger.key_hash, number: 1 }
    expect(await one('read_credit_note', { ...asked, account_id: payer.account_id })).toEqual({ decision: 'not_found' })
    expect(await one('read_credit_note', { ...asked, account_id: stranger.account_id })).toEqual({
      decision: 'not_found',
    })
  })
})

describe('a refund', () => {
  test('comes back to money first, then to the grant that ends last; each has its end still', async () => {
    const [soon, later] = [await grant(300n, 3), await grant(200n, 9)]
    const request_id = await buy() // 300, 200, and 170 of money
    await refund(request_id, 250n)
    expect([await leftOf(soon), await leftOf(later)]).toEqual([0n, 80n])
    await refund(request_id)
    expect([await leftOf(soon), await leftOf(later)]).toEqual([300n, 200n])
    await moveClock(db.sql, '4 days')
    await one('expire_due_grants', { count_max: 100 })
    expect([await leftOf(soon), await leftOf(later), await balance()]).toEqual([0n, 200n, 1_000_200n])
    expect(await ledgerFindings(db.sql, [payer.account_id])).toEqual([])
  })

  test('to a grant that has ended ends with it, in the same commit', async () => {
    await grant(COST, 3)
    const request_id = await buy()
    await moveClock(db.sql, '4 days')
    expect((await refund(request_id)).decision).toBe('refunded')
    expect(await balance()).toBe(1_000_000n)
    const kinds =
      await db.sql`select kind, amount_nanousd from entries where account_id = ${payer.account_id} order by sequence`
    expect(kinds.slice(-2)).toEqual([
      { kind: 'refund', amount_nanousd: String(COST) },
      { kind: 'grant_expiry', amount_nanousd: String(COST) },
    ])
    const { usage } = await one('read_usage', { ...operator, request_id })
    expect(usage).toMatchObject({ cost_nanousd: String(COST), refunded_nanousd: String(COST), net_nanousd: '0' })
  })

  test('makes room under the caps of its key and its account, but not for a month that is over', async () => {
    const fields = { monthly_spend_cap_nanousd: '820' } // what one request holds, which knows of nothing cached
    await one('update_account', { ...operator, account_id: payer.account_id, fields })
    await one('update_key', { ...operator, key_id: payer.key_id, fields })
    const first = await buy()
    const isCharged = async (request_id: string) =>
      (await one('read_usage', { ...operator, request_id })).decision === 'allowed'
    expect(await isCharged(await buy())).toBe(false)
    await refund(first, COST - 1n)
    expect(await isCharged(await buy())).toBe(false)
    await refund(first)
    const second = await buy()
    expect(await isCharged(second)).toBe(true)
    await endMonth()
    expect(await isCharged(await buy())).toBe(true)
    await refund(second)
    expect(await isCharged(await buy())).toBe(false)
  })

  test('of an answer that was lost comes back to the grant too', async () => {
    const id = await grant(COST, 3)
    const request_id = await buy()
    const [held] = await db.sql`select * from reservations where request_id = ${request_id}`
    const ticket = {
      request_id,
      ...payer,
      attempt: 1,
      model: 'm',
      price_version: 1,
      reserved_nanousd: held!.amount_nanousd,
    }
    await one('void', ticket)
    expect([await leftOf(id), await balance()]).toEqual([COST, 1_000_000n + COST])
  })
})

test('a meter event is named for its deployment, and goes on under the name that it was first tried with', async () => {
  const [{ id }] = (await db.sql`select id from deployment`) as never as [{ id: string }]
  const { account_id } = payer
  const add = (hours: number) => db.sql`
    insert into stripe_meter_events (account_id, hour, revision, value_nanousd, customer_id, next_attempt_at)
    values (${account_id}, date_trunc('hour', clock_timestamp()) - ${`${hours} hours`}::interval, 0, 5, 'cus_1', '-infinity')`
  const claim = async (own: object) =>
    (await one('claim_meter_events', { count_max: 9, ...own })).events.map(({ identifier }) => identifier)
  const due = () => db.sql`update stripe_meter_events set next_attempt_at = '-infinity'`
  await add(1)
  const [named] = await claim({ names_deployment: true })
  expect(named).toMatch(new RegExp(`^usage-${id}-${account_id}-\\d+-0$`))
  await due()
  expect(await claim({})).toEqual([]) // of a gateway that would name it otherwise
  await add(2)
  const [old] = await claim({})
  expect(old).toMatch(new RegExp(`^usage-${account_id}-\\d+-0$`))
  await due()
  expect((await claim({ names_deployment: true })).sort()).toEqual([named, old].sort())
})

test('a payment that names an account of another deployment credits nobody', async () => {
  const item = { payment: randomUUID(), account_id: payer.account_id, customer_id: null, amount_nanousd: '5' }
  const [{ id }] = (await db.sql`select id from deployment`) as never as [{ id: string }]
  expect(await one('stripe_payment', { ...item, deployment_id: randomUUID() })).toEqual({
    decision: 'other_deployment',
  })
  expect(await balance()).toBe(1_000_000n)
  expect((await one('stripe_payment', { ...item, deployment_id: id })).decision).toBe('credited')
})
