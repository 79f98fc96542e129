// Random histories of {charge, refund in parts, the same refund again, grant, its end, cap, change of month}, by a clock that a test moves:
// after each one the receipts, the reports, the caps, the grants, the invoices and their credit notes agree with a model of the ledger that
// is written here a second time. HISTORIES=n says how many, SEED=n repeats a run.

import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { FunctionName } from '../../gateway/db/functions.ts'
import { draws } from '../support/draws.ts'
import { makeClockMovable, moveClock } from '../support/movable-clock.ts'
import {
  grantFindings,
  ledgerFindings,
  newPayer,
  type Payer,
  startTestPostgres,
  type TestPostgres,
} from '../support/postgres.ts'
import { type Random, randomFrom, seededRandom } from '../support/random.ts'
import { publish, use } from '../support/use.ts'

const HISTORIES = draws('HISTORIES', { few: 3, all: 300 })
const STEPS = 30
const [INPUT, OUTPUT] = [40, 60]

let db: TestPostgres

beforeAll(async () => {
  db = await startTestPostgres(makeClockMovable)
  await publish(db, 'm', INPUT, OUTPUT)
})
afterAll(() => db?.stop())

const one = async <N extends FunctionName>(name: N, item: object) => (await db.ask(name, item))[0]!
const operator = { operator: true as const }

interface Grant {
  ends_ms: number
  left: bigint
}

interface Charge {
  request_id: string
  amount: bigint
  charged_ms: number
  refunded: bigint
  money: bigint // that paid it and has not come back
  parts: { grant: Grant; left: bigint }[]
}

/** A refund that came after the month of its charge was cut. */
interface Note {
  amount: bigint
  taxable: bigint
  month: string
}

/** What the account should have, counted here by itself. */
class Model {
  balance: bigint
  readonly grants: Grant[] = []
  readonly charges: Charge[] = []
  readonly notes: Note[] = []
  /** What was charged of money in each month, less what came back in the same month. */
  readonly taxable = new Map<string, bigint>()
  readonly rate_ppm: number

  constructor(credit: bigint, rate_ppm: number) {
    this.balance = credit
    this.rate_ppm = rate_ppm
  }

  expire(now_ms: number): void {
    for (const grant of this.grants.filter(({ ends_ms, left }) => ends_ms <= now_ms && left > 0n)) {
      this.balance -= grant.left
      grant.left = 0n
    }
  }

  charge(request_id: string, amount: bigint, now_ms: number): void {
    let rest = amount
    const parts: Charge['parts'] = []
    for (const grant of this.grants.filter(({ left }) => left > 0n).sort((a, b) => a.ends_ms - b.ends_ms)) {
      const part = least(rest, grant.left)
      if (part === 0n) break
      grant.left -= part
      rest -= part
      parts.push({ grant, left: part })
    }
    this.balance -= amount
    this.charges.push({ request_id, amount, charged_ms: now_ms, refunded: 0n, money: rest, parts })
    this.#tax(now_ms, rest)
  }

  refund(charge: Charge, amount: bigint, now_ms: number): void {
    const money = least(amount, charge.money)
    let rest = amount - money
    charge.money -= money
    for (const part of charge.parts.toReversed()) {
      const back = least(rest, part.left)
      part.left -= back
      part.grant.left += back
      rest -= back
    }
    charge.refunded += amount
    this.balance += amount
    const month = monthOf(charge.charged_ms)
    if (month === monthOf(now_ms)) this.#tax(now_ms, -money)
    else this.notes.push({ amount, taxable: money, month })
    this.expire(now_ms)
  }

  taxIn(taxable: bigint): bigint {
    const [sign, of] = taxable < 0n ? [-1n, -taxable] : [1n, taxable]
    const base = 1_000_000n + BigInt(this.rate_ppm)
    return (sign * (2n * of * BigInt(this.rate_ppm) + base)) / (2n * base)
  }

  #tax(now_ms: number, amount: bigint): void {
    this.taxable.set(monthOf(now_ms), (this.taxable.get(monthOf(now_ms)) ?? 0n) + amount)
  }
}

function least(a: bigint, b: bigint): bigint {
  if (a < b) return a
  return b
}

function monthOf(ms: number): string {
  return new Date(ms).toISOString().slice(0, 7)
}

async function now(): Promise<number> {
  const [row] = await db.sql`select clock_timestamp() as now`
  return (row!.now as Date).getTime()
}

async function cut(): Promise<void> {
  while ((await one('cut_invoices', { count_max: 5 })).count > 0);
  while ((await one('sum_invoices', { entries_max: 4 })).count > 0);
}

async function step(random: Random, payer: Payer, model: Model): Promise<void> {
  const { account_id } = payer
  const dice = random.below(20)
  if (dice < 8) {
    const tokens: [number, number] = [1 + random.below(40), 1 + random.below(40)]
    const request_id = await use(db, payer, 'm', tokens)
    const cached = Math.floor(tokens[0] / 2)
    const amount = BigInt((tokens[0] - cached) * INPUT + cached * (INPUT / 4) + tokens[1] * OUTPUT)
    model.expire(await now())
    model.charge(request_id, amount, await now())
  } else if (dice < 14) {
    const charge = model.charges.length === 0 ? null : random.pick(model.charges)
    const left = charge ? charge.amount - charge.refunded : 0n
    if (!charge || left === 0n) return
    const amount = random.chance(0.4) ? left : 1n + (left * BigInt(random.below(100))) / 101n
    const item = { account_id, request_id: charge.request_id, amount_nanousd: String(amount), reference: randomUUID() }
    const at_once = Array.from({ length: 1 + random.below(3) }, () => item) // asked again it is done once
    const answers = await db.ask('refund', ...at_once)
    expect(new Set(answers.map(({ decision }) => decision))).toEqual(new Set(['refunded']))
    model.expire(await now())
    model.refund(charge, amount, await now())
  } else if (dice < 17) {
    const ends_ms = (await now()) + (1 + random.below(40)) * 43_200_000
    const amount = BigInt(1 + random.below(4000))
    const expires_at = new Date(ends_ms).toISOString()
    await one('give_grant', { account_id, amount_nanousd: String(amount), reference: randomUUID(), expires_at })
    model.grants.push({ ends_ms, left: amount })
    model.balance += amount
  } else {
    await moveClock(db.sql, `${1 + random.below(16)} days`)
    await one('expire_due_grants', { count_max: 100 })
    model.expire(await now())
    await cut()
  }
}

test(`in ${HISTORIES} random histories receipt, report, invoice and cap agree with the ledger`, {
  timeout: 3_600_000,
}, async () => {
  const { seed } = seededRandom()
  for (let history = 0; history < HISTORIES; history += 1) {
    const random = randomFrom(seed + history)
    const payer = await newPayer(db, 10_000_000n)
    const model = new Model(10_000_000n, random.pick([0, 190_000, 88_750, 1_000_000]))
    const fields = { tax_rate_ppm: model.rate_ppm, country: 'DE', address: 'a' }
    await one('update_buyer_data', { ...operator, account_id: payer.account_id, fields })
    for (let i = 0; i < STEPS; i += 1) await step(random, payer, model)
    expect(await disagreements(payer, model), `history ${history} of seed ${seed}`).toEqual([])
  }
})

async function disagreements(payer: Payer, model: Model): Promise<string[]> {
  model.expire(await now())
  await one('expire_due_grants', { count_max: 100 })
  return [
    ...(await booksDiffer(payer, model)),
    ...(await receiptsDiffer(model)),
    ...(await reportDiffers(payer, model)),
    ...(await documentsDiffer(payer, model)),
    ...(await ledgerFindings(db.sql, [payer.account_id])),
    ...(await grantFindings(db.sql, [payer.account_id])).filter(
      (finding) => !finding.endsWith('neither spent nor expired'),
    ),
  ]
}

const differ = (what: string, is: unknown, should: unknown) =>
  String(is) === String(should) ? [] : [`${what} is ${is}, not ${should}`]

async function booksDiffer({ account_id, key_id }: Payer, model: Model): Promise<string[]> {
  const [balance] =
    await db.sql`select credited_nanousd - debited_nanousd as balance from accounts where id = ${account_id}`
  const [grants] = await db.sql`
    select coalesce(sum(amount_nanousd - spent_nanousd - expired_nanousd), 0) as left from grants where account_id = ${account_id}`
  const { key } = await one('read_key', { ...operator, key_id })
  return [
    ...differ('the balance', balance!.balance, model.balance),
    ...differ(
      'what is left of grants',
      grants!.left,
      model.grants.reduce((sum, { left }) => sum + left, 0n),
    ),
    ...differ('the cap counts', key!.charged_this_month_nanousd, await capOf(model)),
  ]
}

/** What was charged this month, less what came back of it. */
async function capOf(model: Model): Promise<bigint> {
  const month = monthOf(await now())
  return model.charges
    .filter(({ charged_ms }) => monthOf(charged_ms) === month)
    .reduce((sum, { amount, refunded }) => sum + amount - refunded, 0n)
}

async function receiptsDiffer(model: Model): Promise<string[]> {
  const found: string[] = []
  for (const { request_id, amount, refunded } of model.charges) {
    const { usage } = await one('read_usage', { ...operator, request_id })
    const effects = usage.entries.reduce((sum, { effect_nanousd }) => sum + BigInt(effect_nanousd), 0n)
    found.push(
      ...differ(
        'a receipt',
        [usage.cost_nanousd, usage.refunded_nanousd, usage.net_nanousd],
        [amount, refunded, amount - refunded],
      ),
      ...differ('the sum of its entries', effects, refunded - amount),
    )
  }
  return found
}

async function reportDiffers({ account_id }: Payer, model: Model): Promise<string[]> {
  const days = await db.sql`
    select day::text, sum(cost_nanousd) as cost, sum(refunded_nanousd) as refunded from read.usage_by_day
    where account_id = ${account_id} group by day order by day`
  const expected = Map.groupBy(model.charges, ({ charged_ms }) => new Date(charged_ms).toISOString().slice(0, 10))
  const sum = (charges: Charge[], of: 'amount' | 'refunded') =>
    charges.reduce((total, charge) => total + charge[of], 0n)
  const should = Array.from(expected, ([day, own]) => `${day} ${sum(own, 'amount')} ${sum(own, 'refunded')}`).sort()
  return differ(
    'the report',
    days.map(({ day, cost, refunded }) => `${day} ${cost} ${refunded}`),
    should,
  )
}

async function documentsDiffer({ account_id }: Payer, model: Model): Promise<string[]> {
  const closing = model.balance // what ends from here on ends in a month that is not over
  await moveClock(db.sql, '32 days')
  await one('expire_due_grants', { count_max: 100 })
  model.expire(await now())
  await cut()
  const rows = await db.sql`
    select number, to_char(month at time zone 'UTC', 'YYYY-MM') as month from invoices where account_id = ${account_id} order by number`
  const invoices = await Promise.all(
    rows.map(({ number }) => one('read_invoice', { ...operator, account_id, number: Number(number) })),
  )
  const found = invoices.flatMap(({ invoice }) => {
    const taxable = model.taxable.get(invoice.month) ?? 0n
    const [line] = invoice.tax_lines
    const [is, should] = [
      line && [line.gross_nanousd, line.net_nanousd, line.tax_nanousd],
      model.rate_ppm > 0 ? [taxable, taxable - model.taxIn(taxable), model.taxIn(taxable)] : undefined,
    ]
    const lines = invoice.lines.reduce((sum, { amount_nanousd }) => sum + BigInt(amount_nanousd), 0n)
    return [
      ...differ(`the tax of ${invoice.month}`, is, should),
      ...differ('the closing', invoice.closing_nanousd, BigInt(invoice.opening_nanousd) + lines),
    ]
  })
  const notes = await db.sql`
    select c.amount_nanousd, c.taxable_nanousd, c.tax_nanousd, to_char(i.month at time zone 'UTC', 'YYYY-MM') as month, c.number
    from credit_notes c join invoices i on i.account_id = c.account_id and i.number = c.invoice_number
    where c.account_id = ${account_id} order by c.number`
  const should = model.notes.map(
    ({ amount, taxable, month }, i) => `${i + 1} ${month} ${amount} ${taxable} ${model.taxIn(taxable)}`,
  )
  const are = notes.map((n) => `${n.number} ${n.month} ${n.amount_nanousd} ${n.taxable_nanousd} ${n.tax_nanousd}`)
  const last = invoices.at(-1)?.invoice.closing_nanousd ?? '0'
  return [...found, ...differ('the credit notes', are, should), ...differ('the last closing', last, closing)]
}
