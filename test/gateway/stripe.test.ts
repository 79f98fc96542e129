// Money by Stripe: bought credit is in the ledger once, what is taken back is taken back, and what postpaid accounts used is on the
// meter once, whatever is lost, doubled, late or refused between the two.

import { randomUUID } from 'node:crypto'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { createFundedKey } from '../../local/demo-account.ts'
import { draws } from '../support/draws.ts'
import { type Caller, callerOf, errorOf, startTestGateway, type TestGateway } from '../support/gateway.ts'
import { makeClockMovable, moveClock } from '../support/movable-clock.ts'
import { newPayer, type Payer } from '../support/postgres.ts'
import { type Random, seededRandom } from '../support/random.ts'
import { type Failure, type StripeServer, startStripeServer } from '../support/stripe-server.ts'
import { publish, use } from '../support/use.ts'

const NANOUSD_PER_CENT = 10_000_000n
const HISTORIES = draws('HISTORIES', { few: 4, all: 20 })

let stripe: StripeServer
let gateway: TestGateway

beforeAll(async () => {
  const secrets = { secret_key: 'sk_test_stripe', webhook_secret: 'whsec_test' }
  stripe = await startStripeServer({ ...secrets, meter_id: 'mtr_test', event_name: 'api_usage_nanousd' })
  const vars = {
    STRIPE_SECRET_KEY: secrets.secret_key,
    STRIPE_WEBHOOK_SECRET: secrets.webhook_secret,
    STRIPE_METER_ID: 'mtr_test',
    STRIPE_API_URL: stripe.url,
  }
  gateway = await startTestGateway(vars, makeClockMovable)
  await publish(gateway.db, 'm', 1_000_000, 3_000_000)
})
afterAll(async () => {
  await gateway?.stop()
  await stripe?.stop()
})
afterEach(() => {
  delete stripe.options.failure
})

const ten_dollars = {
  amount_nanousd: '10000000000',
  success_url: 'https://shop.test/ok',
  cancel_url: 'https://shop.test/no',
}

/** A caller whose key may buy. */
async function newBuyer(): Promise<Caller> {
  const { account_id } = await createFundedKey({ gateway_url: gateway.url, admin_key: gateway.admin_key }, 'buyer', '0')
  const made = await gateway.admin('/admin/keys', { account_id, name: 'buyer', scopes: ['admin', 'usage'] })
  const { id, key } = (await made.json()) as { id: string; key: string }
  return callerOf(gateway.url, { api_key: key, account_id, key_id: id })
}

async function checkout(buyer: Caller, body: object = ten_dollars): Promise<{ id: string; url: string }> {
  const response = await buyer.post('/v1/top-ups/checkout', body)
  if (response.status !== 201) throw new Error(`${response.status} ${await response.text()}`)
  return (await response.json()) as { id: string; url: string }
}

function deliver(event: object): Promise<Response> {
  return fetch(`${gateway.url}/stripe/webhook`, { method: 'POST', ...stripe.signed(event) })
}

/** All that Stripe has to tell, in the order that it happened. */
async function deliverAll(): Promise<void> {
  for (const event of stripe.outbox.splice(0)) expect((await deliver(event)).status).toBe(200)
}

async function balanceOf(account_id: string): Promise<bigint> {
  const [row] = await gateway.db
    .sql`select (credited_nanousd - debited_nanousd)::text as balance from accounts where id = ${account_id}`
  return BigInt(row!.balance)
}

describe('a purchase', () => {
  test('is a page of Stripe’s, and credit when it is paid: once, however often it is told', async () => {
    const buyer = await newBuyer()
    const session = await checkout(buyer)
    expect(session.url).toContain(session.id)
    expect(await balanceOf(buyer.account_id)).toBe(0n)
    const payment = stripe.pay(session.id)
    const events = stripe.outbox.splice(0)
    for (const event of [...events, ...events.toReversed()]) expect((await deliver(event)).status).toBe(200)
    await Promise.all(events.flatMap((event) => [deliver(event), deliver(event)]))
    expect(await balanceOf(buyer.account_id)).toBe(10_000_000_000n)
    const rows = await gateway.db.sql`select kind, reference from entries where account_id = ${buyer.account_id}`
    expect(rows.map(({ kind, reference }) => [kind, reference])).toEqual([['top_up', `stripe:${payment}`]])
  })

  test('of the same account is by the same customer', async () => {
    const buyer = await newBuyer()
    const sessions = [await checkout(buyer), await checkout(buyer)]
    const [one, two] = sessions.map(({ id }) => stripe.sessions.get(id)!.customer)
    expect(one).toBe(two)
    const billing = (await (await buyer.get('/v1/billing')).json()) as { stripe_customer_id: string }
    expect(billing.stripe_customer_id).toBe(one)
  })

  test.each([
    ['of half a cent', { amount_nanousd: '10000000001' }, 'amount_nanousd'],
    ['below a dollar', { amount_nanousd: '990000000' }, 'amount_nanousd'],
    ['above what Stripe takes', { amount_nanousd: '1000000000000000' }, 'amount_nanousd'],
    ['in a number', { amount_nanousd: 10 }, 'amount_nanousd'],
    ['that returns to a script', { success_url: 'javascript:alert(1)' }, 'success_url'],
    ['with a field we do not know', { currency: 'eur' }, 'currency'],
  ])('%s is a 400', async (_, own, param) => {
    const buyer = await newBuyer()
    expect(await errorOf(await buyer.post('/v1/top-ups/checkout', { ...ten_dollars, ...own }))).toMatchObject({
      status: 400,
      param,
    })
  })

  test('needs the scope `admin`', async () => {
    const caller = await gateway.newCaller()
    expect(await errorOf(await caller.post('/v1/top-ups/checkout', ten_dollars))).toMatchObject({
      status: 403,
      code: 'missing_scope',
    })
  })

  test('while Stripe is away is a 503 that says when to retry', async () => {
    const buyer = await newBuyer()
    stripe.options.failure = () => 500
    const response = await buyer.post('/v1/top-ups/checkout', ten_dollars)
    expect(response.headers.get('retry-after')).toBe('5')
    expect(await errorOf(response)).toMatchObject({ status: 503, code: 'payments_unavailable' })
    delete stripe.options.failure
    expect((await checkout(buyer)).id).toMatch(/^cs_/)
  })

  test('whose answer was lost is asked for again at once', async () => {
    const buyer = await newBuyer()
    const failures: Failure[] = ['lose_answer', 'lose_request']
    stripe.options.failure = () => failures.pop() ?? null
    expect((await checkout(buyer)).id).toMatch(/^cs_/)
  })
})

describe('what is taken back', () => {
  const bought = async () => {
    const buyer = await newBuyer()
    const payment = stripe.pay((await checkout(buyer)).id)
    return { buyer, payment }
  }

  test('is debited, a part of it or all, also where it was told before the payment', async () => {
    const { buyer, payment } = await bought()
    const paid = stripe.outbox.splice(0)
    stripe.refund(payment, 300)
    await deliverAll()
    expect(await balanceOf(buyer.account_id)).toBe(0n)
    for (const event of paid) await deliver(event)
    expect(await balanceOf(buyer.account_id)).toBe(7_000_000_000n)
  })

  test('and fails is as if it had not been, in any order', async () => {
    for (const reversed of [false, true]) {
      const { buyer, payment } = await bought()
      await deliverAll()
      stripe.refund(payment, 1000, ['succeeded', 'failed'])
      stripe.refund(payment, 1000, ['pending', 'failed'])
      const events = stripe.outbox.splice(0)
      for (const event of reversed ? events.toReversed() : events) await deliver(event)
      expect(await balanceOf(buyer.account_id)).toBe(10_000_000_000n)
    }
  })

  test('by a dispute comes back when it is won, and leaves a debt where it was spent', async () => {
    const { buyer, payment } = await bought()
    await deliverAll()
    stripe.dispute(payment, 1000, 'won')
    await deliverAll()
    expect(await balanceOf(buyer.account_id)).toBe(10_000_000_000n)
    const spent = { account_id: buyer.account_id, direction: 'debit', amount_nanousd: '9000000000', note: 'spent' }
    await gateway.db.ask('adjust', { ...spent, reference: randomUUID() })
    stripe.dispute(payment, 1000, 'lost')
    await deliverAll()
    expect(await balanceOf(buyer.account_id)).toBe(-9_000_000_000n)
    const kinds = await gateway.db
      .sql`select kind from entries where account_id = ${buyer.account_id} order by sequence`
    expect(kinds.at(-1)!.kind).toBe('adjustment_late_debit')
  })
})

describe('an event', () => {
  const event = { id: 'evt_1', object: 'event', type: 'payment_intent.succeeded', data: { object: {} } }
  const post = (init: { body: string; headers: Record<string, string> }) =>
    fetch(`${gateway.url}/stripe/webhook`, { method: 'POST', ...init })

  test.each([
    ['without a signature', () => ({ body: '{}', headers: {} })],
    ['with another’s signature', () => stripe.signed(event, 'whsec_other')],
    ['that is old', () => stripe.signed(event, undefined, Math.floor(Date.now() / 1000) - 3600)],
    ['that was changed', () => ({ ...stripe.signed(event), body: JSON.stringify({ ...event, id: 'evt_2' }) })],
  ])('%s is a 400', async (_, init) => {
    expect(await errorOf(await post(init()))).toMatchObject({ status: 400, code: 'invalid_signature' })
  })

  const paid = {
    id: 'pi_x',
    object: 'payment_intent',
    amount_received: 100,
    currency: 'usd',
    customer: null,
    metadata: {},
  }
  test.each([
    ['of a type we do not know', { ...event, type: 'customer.created' }],
    ['of a payment that names nobody', { ...event, data: { object: paid } }],
    [
      'of another currency',
      { ...event, data: { object: { ...paid, currency: 'eur', metadata: { account_id: '1' } } } },
    ],
    ['of what is no account’s id', { ...event, data: { object: { ...paid, metadata: { account_id: "1'; --" } } } }],
    [
      'of an account that is not there',
      { ...event, data: { object: { ...paid, metadata: { account_id: '99999999' } } } },
    ],
    ['of a customer that is not ours', { ...event, data: { object: { ...paid, customer: 'cus_other' } } }],
  ])('%s is received and changes nothing', async (_, unknown) => {
    const count = async () => (await gateway.db.sql`select count(*)::int as count from entries`)[0]!.count
    const before = await count()
    expect((await deliver(unknown)).status).toBe(200)
    expect(await count()).toBe(before)
  })
})

test('what the database refused is not acknowledged: Stripe tells it again, and it is in the ledger then', async () => {
  const buyer = await newBuyer()
  const { sql } = gateway.db
  stripe.pay((await checkout(buyer)).id)
  const events = stripe.outbox.splice(0)
  await sql`update accounts set credited_nanousd = 9223372036854775807 where id = ${buyer.account_id}`
  const refused = await Promise.all(events.map(deliver))
  expect(refused.map(({ status }) => status)).toContain(400)
  await sql`update accounts set credited_nanousd = 0 where id = ${buyer.account_id}`
  stripe.outbox.push(...events)
  await deliverAll()
  expect(await balanceOf(buyer.account_id)).toBe(10_000_000_000n)
})

test('an account that is linked to a customer is one; a customer pays for one account', async () => {
  const [one, two] = [await newBuyer(), await newBuyer()]
  const link = (account_id: string) =>
    gateway.admin(`/admin/accounts/${account_id}/billing`, { stripe_customer_id: 'cus_Shared' }, 'PATCH')
  expect((await link(one.account_id)).status).toBe(200)
  expect(await errorOf(await link(two.account_id))).toMatchObject({ status: 400, code: 'customer_taken' })
})

const FAILURES: Failure[] = ['lose_request', 'lose_answer', 'error_after', 500, 429]

function failingWith(random: Random, probability: number): () => Failure {
  return () => (random.chance(probability) ? random.pick(FAILURES) : null)
}

test(`in ${HISTORIES} random histories the credit of every account is what was paid and not taken back`, async () => {
  const random = seededRandom()
  for (let history = 0; history < HISTORIES; history += 1) {
    const buyers = await Promise.all([newBuyer(), newBuyer(), newBuyer()])
    const owed = new Map(buyers.map(({ account_id }) => [account_id, 0n]))
    const add = (id: string, cents: number) => owed.set(id, owed.get(id)! + BigInt(cents) * NANOUSD_PER_CENT)
    stripe.options.failure = failingWith(random, 0.15)
    const buy = async () => {
      const buyer = random.pick(buyers)
      const cents = 100 + random.below(5000)
      const amount_nanousd = String(BigInt(cents) * NANOUSD_PER_CENT)
      const response = await buyer.post('/v1/top-ups/checkout', { ...ten_dollars, amount_nanousd })
      expect([201, 503]).toContain(response.status)
      if (response.status === 503 || random.chance(0.1)) return void (await response.arrayBuffer()) // not paid
      const payment = stripe.pay(((await response.json()) as { id: string }).id)
      add(buyer.account_id, cents)
      const part = 1 + random.below(cents)
      if (random.chance(0.3)) {
        stripe.refund(payment, part)
        add(buyer.account_id, -part)
      }
      if (random.chance(0.3)) stripe.refund(payment, part, [random.pick(['pending', 'succeeded'] as const), 'failed'])
      if (random.chance(0.3)) {
        const end = random.pick(['won', 'lost'] as const)
        stripe.dispute(payment, part, end)
        if (end === 'lost') add(buyer.account_id, -part)
      }
    }
    await Promise.all(Array.from({ length: 20 }, buy))
    // Every event at least once, some twice, in any order, several at a time.
    const events = stripe.outbox.splice(0).flatMap((event) => (random.chance(0.3) ? [event, event] : [event]))
    const shuffled = events.map((event) => [random.below(1e9), event] as const).toSorted(([a], [b]) => a - b)
    const worker = async () => {
      for (let next = shuffled.pop(); next; next = shuffled.pop()) expect((await deliver(next[1])).status).toBe(200)
    }
    await Promise.all([worker(), worker(), worker(), worker()])
    for (const [account_id, nanousd] of owed)
      expect(await balanceOf(account_id), `seed ${random.seed}, history ${history}`).toBe(nanousd)
  }
})

describe('the meter', () => {
  /** A postpaid account with a customer at Stripe. */
  const newPostpaid = async (): Promise<{ payer: Payer; customer: string }> => {
    const payer = await newPayer(gateway.db, 1n)
    const customer = `cus_M${payer.account_id}`
    stripe.customers.set(customer, { id: customer, metadata: {} })
    const settings = { billing_mode: 'postpaid', stripe_customer_id: customer }
    const response = await gateway.admin(`/admin/accounts/${payer.account_id}/billing`, settings, 'PATCH')
    expect(response.status).toBe(200)
    await gateway.admin(`/admin/accounts/${payer.account_id}`, { overdraft_nanousd: '1000000000000' }, 'PATCH')
    return { payer, customer }
  }

  const ledgerOf = async (account_id: string): Promise<bigint> => {
    const [row] = await gateway.db
      .sql`select coalesce(sum(case kind when 'refund' then -amount_nanousd else amount_nanousd end), 0)::text as sum
      from entries where account_id = ${account_id} and kind in ('usage', 'late_usage', 'refund')`
    return BigInt(row!.sum)
  }

  const pass = async (hours: number) => {
    await moveClock(gateway.db.sql, `${hours} hours`)
    stripe.ahead_s += hours * 3600
  }

  const unfinished = async () => {
    const [row] = await gateway.db
      .sql`select count(*)::int as count from stripe_meter_events where reconciled_at is null`
    return row!.count as number
  }

  test('counts what was used since the account became postpaid, hour by hour, and what was given back', async () => {
    const payer = await newPayer(gateway.db, 1_000_000_000n)
    await use(gateway.db, payer, 'm', [1, 1]) // prepaid: on no meter
    const customer = `cus_P${payer.account_id}`
    stripe.customers.set(customer, { id: customer, metadata: {} })
    const settings = { billing_mode: 'postpaid', stripe_customer_id: customer }
    await gateway.admin(`/admin/accounts/${payer.account_id}/billing`, settings, 'PATCH')
    const request_id = await use(gateway.db, payer, 'm', [0, 2])
    await gateway.runScheduled()
    expect(stripe.metered(customer)).toBe(0n) // the hour is not over
    await pass(1)
    await gateway.runScheduled()
    expect(stripe.metered(customer)).toBe(6_000_000n)
    await gateway.runScheduled()
    const refund = {
      account_id: payer.account_id,
      request_id,
      amount_nanousd: '1000000',
      reference: randomUUID(),
      note: null,
    }
    await gateway.db.ask('refund', refund)
    await use(gateway.db, payer, 'm', [0, 1])
    await gateway.admin(`/admin/accounts/${payer.account_id}/billing`, { billing_mode: 'prepaid' }, 'PATCH')
    await use(gateway.db, payer, 'm', [0, 5]) // prepaid again
    await pass(1)
    await gateway.runScheduled()
    expect(stripe.metered(customer)).toBe(8_000_000n)
  })

  const link = async (account_id: string, stripe_customer_id: string | null) => {
    if (stripe_customer_id) stripe.customers.set(stripe_customer_id, { id: stripe_customer_id, metadata: {} })
    const response = await gateway.admin(`/admin/accounts/${account_id}/billing`, { stripe_customer_id }, 'PATCH')
    expect(response.status).toBe(200)
  }

  test('counts usage for the customer of its time, whoever the account is linked to later', async () => {
    const { payer, customer } = await newPostpaid()
    const next = `${customer}next`
    await use(gateway.db, payer, 'm', [0, 1])
    await link(payer.account_id, next)
    await use(gateway.db, payer, 'm', [0, 2])
    await link(payer.account_id, null)
    await use(gateway.db, payer, 'm', [0, 4]) // nobody's
    await pass(1)
    await gateway.runScheduled()
    expect([stripe.metered(customer), stripe.metered(next)]).toEqual([3_000_000n, 6_000_000n])
  })

  test('compares a customer’s day over all its accounts', async () => {
    const [one, two] = [await newPostpaid(), await newPostpaid()]
    await use(gateway.db, one.payer, 'm', [0, 1])
    await link(one.payer.account_id, null)
    await link(two.payer.account_id, one.customer)
    await use(gateway.db, two.payer, 'm', [0, 2])
    await pass(1)
    await gateway.runScheduled()
    const event = stripe.meter_events.findIndex((made) => made.customer === one.customer)
    stripe.meter_events.splice(event, 1) // lost at Stripe
    for (let day = 0; day < 4; day += 1) {
      await pass(26)
      await gateway.runScheduled()
    }
    expect(stripe.metered(one.customer)).toBe(9_000_000n)
    const rows = await gateway.db.sql`select is_correction from stripe_meter_events
      where customer_id = ${one.customer} and reconciled_at is not null order by is_correction`
    expect(rows.map(({ is_correction }) => is_correction)).toEqual([false, false, true])
  })

  test('does not count what a grant paid', async () => {
    const { payer, customer } = await newPostpaid()
    const expires_at = new Date(Date.now() + 400 * 86_400_000).toISOString()
    const grant = { account_id: payer.account_id, amount_nanousd: '4000000', reference: randomUUID(), expires_at }
    await gateway.db.ask('give_grant', grant)
    await use(gateway.db, payer, 'm', [0, 1]) // all of it by the grant
    await pass(1)
    await gateway.runScheduled()
    expect(stripe.metered(customer)).toBe(0n)
    await use(gateway.db, payer, 'm', [0, 1]) // a third of it
    await use(gateway.db, payer, 'm', [0, 1])
    await pass(1)
    await gateway.runScheduled()
    expect(stripe.metered(customer)).toBe(5_000_000n)
  })

  test.each<[Failure]>([['lose_request'], ['lose_answer'], ['error_after'], [500], [429]])(
    'gets an event again that met %s, and counts it once',
    async (failure) => {
      const { payer, customer } = await newPostpaid()
      await use(gateway.db, payer, 'm', [0, 2])
      await pass(1)
      stripe.options.failure = () => failure
      await gateway.runScheduled()
      delete stripe.options.failure
      await pass(1)
      await gateway.runScheduled()
      const rows = await gateway.db
        .sql`select state, attempt from stripe_meter_events where account_id = ${payer.account_id}`
      expect(rows.map(({ state, attempt }) => [state, attempt])).toEqual([['sent', 2]])
      expect(stripe.metered(customer)).toBe(6_000_000n)
    },
  )

  test('is paid by the invoice of Stripe’s, which credits the customer’s account', async () => {
    const { payer, customer } = await newPostpaid()
    await use(gateway.db, payer, 'm', [0, 100])
    stripe.payInvoice(customer, 30)
    await deliverAll()
    expect(await balanceOf(payer.account_id)).toBe(1n)
  })

  test(`in ${HISTORIES} random histories has every nano-dollar once, a day after the last failure`, async () => {
    const random = seededRandom()
    let corrections = 0
    for (let history = 0; history < HISTORIES; history += 1) {
      const accounts = await Promise.all([newPostpaid(), newPostpaid(), newPostpaid()])
      stripe.options.failure = failingWith(random, 0.5)
      for (let round = 0; round < 8; round += 1) {
        for (const { payer } of accounts) {
          if (random.chance(0.3)) continue
          const request_id = await use(gateway.db, payer, 'm', [random.below(9), 1 + random.below(9)])
          const refund = {
            account_id: payer.account_id,
            request_id,
            amount_nanousd: null,
            reference: randomUUID(),
            note: null,
          }
          if (random.chance(0.2)) await gateway.db.ask('refund', refund)
        }
        await pass(random.pick([1, 1, 3, 26]))
        await Promise.all(Array.from({ length: 1 + random.below(2) }, () => gateway.runScheduled()))
      }
      delete stripe.options.failure
      for (let day = 0; day < 4 || (await unfinished()) > 0; day += 1) {
        expect(day, `seed ${random.seed}, history ${history}: still not reconciled`).toBeLessThan(12)
        await pass(26)
        await gateway.runScheduled()
        await gateway.runScheduled()
      }
      for (const { payer, customer } of accounts)
        expect(stripe.metered(customer), `seed ${random.seed}, history ${history}`).toBe(
          await ledgerOf(payer.account_id),
        )
      const [row] = await gateway.db.sql`select count(*)::int as count from stripe_meter_events where is_correction`
      corrections = row!.count
    }
    const lost = stripe.calls.filter(({ status }) => status !== 200).length
    console.log(`${stripe.calls.length} calls of Stripe, ${lost} failed or lost; ${corrections} corrections`)
    expect(corrections).toBeGreaterThan(0)
  })
})
