// Invoices over HTTP: made by the cron, read by their account and by the operator, in three forms that say the same.

import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Invoice } from '../../contract/public/invoice.ts'
import { creditNoteHtml, dollars, invoiceCsv, invoiceHtml } from '../../gateway/billing/invoice.ts'
import { type Caller, errorOf, startTestGateway, type TestGateway } from '../support/gateway.ts'
import { makeClockMovable, moveClock } from '../support/movable-clock.ts'
import type { Payer } from '../support/postgres.ts'
import { publish, use } from '../support/use.ts'

let gateway: TestGateway
let owner: Caller
let stranger: Caller
let invoice: Invoice

beforeAll(async () => {
  gateway = await startTestGateway({}, makeClockMovable)
  await publish(gateway.db, 'm', 40, 60)
  ;[owner, stranger] = [await gateway.newCaller('1000000'), await gateway.newCaller('5')]
  const [key] = await gateway.db.sql`select encode(hash, 'hex') as key_hash from keys where id = ${owner.key_id}`
  const payer: Payer = { account_id: owner.account_id, key_id: owner.key_id, key_hash: key!.key_hash }
  for (let i = 0; i < 3; i += 1) await use(gateway.db, payer, 'm', [10, 7])
  await publish(gateway.db, 'm', 80, 120)
  const request_id = await use(gateway.db, payer, 'm', [10, 7])
  await gateway.db.ask('refund', {
    account_id: owner.account_id,
    request_id,
    amount_nanousd: '100',
    reference: randomUUID(),
    note: null,
  })
  await moveClock(gateway.db.sql, '32 days')
  await gateway.runScheduled()
  const list = (await (await owner.get('/v1/invoices')).json()) as { data: { id: string }[] }
  invoice = (await (await owner.get(`/v1/invoices/${list.data[0]!.id}`)).json()) as Invoice
})
afterAll(() => gateway?.stop())

// 10 tokens in, 5 of them cached at a quarter of the price, 7 out: 5 * 40 + 5 * 10 + 7 * 60, and then twice that.
const COST = 670

test('the cron makes the invoice of the month that is over, with a line for each model and price', () => {
  const counts = { prompt_tokens: '10', cached_tokens: '5', completion_tokens: '7' }
  expect(invoice).toMatchObject({
    object: 'invoice',
    id: `inv_${owner.account_id}_1`,
    number: 1,
    account_name: 'caller',
    billing_mode: 'prepaid',
    opening_nanousd: '0',
    closing_nanousd: String(1_000_000 - 3 * COST - 2 * COST + 100),
    due_nanousd: '0',
    after_sequence: '0',
    last_sequence: '6',
  })
  const lines = Object.fromEntries(invoice.lines.map((line) => [`${line.kind} ${line.price_version ?? ''}`, line]))
  expect(lines['top_up ']).toMatchObject({ model: null, count: '1', amount_nanousd: '1000000' })
  expect(lines['usage 1']).toMatchObject({
    model: 'm',
    count: '3',
    prompt_tokens: '30',
    cached_tokens: '15',
    completion_tokens: '21',
    input_nanousd_per_token: '40',
    cached_input_nanousd_per_token: '10',
    output_nanousd_per_token: '60',
    amount_nanousd: String(-3 * COST),
  })
  expect(lines['usage 2']).toMatchObject({ count: '1', ...counts, amount_nanousd: String(-2 * COST) })
  expect(lines['refund 2']).toMatchObject({ model: 'm', count: '1', amount_nanousd: '100' })
})

describe('its form', () => {
  test.each([
    ['?format=csv', {}, 'text/csv; charset=utf-8'],
    ['?format=html', {}, 'text/html; charset=utf-8'],
    ['', { accept: 'text/csv' }, 'text/csv; charset=utf-8'],
    ['', { accept: 'text/html,application/xhtml+xml;q=0.9,*/*;q=0.8' }, 'text/html; charset=utf-8'],
    ['', { accept: '*/*' }, 'application/json'],
    ['?format=json', { accept: 'text/html' }, 'application/json'],
  ])('%s with %j is %s', async (query, headers, type) => {
    const authorization = `Bearer ${owner.api_key}`
    const response = await fetch(`${gateway.url}/v1/invoices/${invoice.id}${query}`, {
      headers: { ...headers, authorization },
    })
    expect([response.status, response.headers.get('content-type')]).toEqual([200, type])
  })

  test('as CSV adds up to its last row', async () => {
    const text = await (await owner.get(`/v1/invoices/${invoice.id}?format=csv`)).text()
    const amounts = text
      .trim()
      .split('\r\n')
      .slice(1)
      .map((row) => BigInt(row.split(',').at(-1)!))
    expect(amounts.slice(0, -1).reduce((sum, amount) => sum + amount, 0n)).toBe(amounts.at(-1))
    expect(amounts.at(-1)).toBe(BigInt(invoice.closing_nanousd))
  })

  test.each(['format=pdf', 'colour=1'])('%s is a 400', async (query) => {
    expect((await errorOf(await owner.get(`/v1/invoices/${invoice.id}?${query}`))).status).toBe(400)
  })
})

describe('another account’s invoice', () => {
  test('is the same 404 as a missing one', async () => {
    const others = await errorOf(await stranger.get(`/v1/invoices/${invoice.id}`))
    expect(others).toEqual(await errorOf(await stranger.get('/v1/invoices/inv_99999_1')))
    expect(others.status).toBe(404)
    expect((await errorOf(await stranger.get('/v1/invoices/nothing'))).status).toBe(404)
  })

  test('is the operator’s to read', async () => {
    const list = await gateway.admin(`/admin/invoices?account_id=${owner.account_id}`, undefined, 'GET')
    expect(await list.json()).toMatchObject({ object: 'list', has_more: false, data: [{ id: invoice.id }] })
    const one = await gateway.admin(`/admin/invoices/${invoice.id}`, undefined, 'GET')
    expect(await one.json()).toEqual(invoice)
    expect((await gateway.admin('/admin/invoices', undefined, 'GET')).status).toBe(400)
    expect(await errorOf(await owner.get(`/admin/invoices/${invoice.id}`))).toMatchObject({ status: 401 })
  })
})

describe('how an account pays', () => {
  const billing = (fields: object, id = owner.account_id) =>
    gateway.admin(`/admin/accounts/${id}/billing`, fields, 'PATCH')

  test('is shown, and changed by the operator in what is named', async () => {
    expect(await (await billing({ alert_percents: [30], alert_amounts_nanousd: ['7'] })).json()).toMatchObject({
      object: 'billing',
      billing_mode: 'prepaid',
      alert_percents: [30],
      alert_amounts_nanousd: ['7'],
    })
    expect(await (await billing({ billing_mode: 'postpaid' })).json()).toMatchObject({ alert_percents: [30] })
    expect(await (await owner.get('/v1/billing')).json()).toMatchObject({
      billing_mode: 'postpaid',
      alert_percents: [30],
    })
  })

  test.each([
    [{ billing_mode: 'free' }, 'billing_mode'],
    [{ alert_percents: [100] }, 'alert_percents[0]'],
    [{ alert_percents: Array(11).fill(1) }, 'alert_percents'],
    [{ alert_amounts_nanousd: [5] }, 'alert_amounts_nanousd[0]'],
    [{ stripe_customer_id: 'x' }, 'stripe_customer_id'],
    [{ balance: '1' }, 'balance'],
  ])('%j is a 400', async (fields, param) => {
    expect(await errorOf(await billing(fields))).toMatchObject({ status: 400, param })
  })

  test('of an account that is not there is a 404', async () => {
    expect((await errorOf(await billing({}, '999999'))).status).toBe(404)
  })
})

test('without Stripe’s secrets its endpoints say so', async () => {
  const body = { amount_nanousd: '10000000000', success_url: 'https://a.test', cancel_url: 'https://a.test' }
  expect(await errorOf(await owner.post('/v1/top-ups/checkout', body))).toMatchObject({
    status: 404,
    code: 'payments_not_configured',
  })
  expect(await errorOf(await owner.post('/stripe/webhook', '{}'))).toMatchObject({
    status: 404,
    code: 'payments_not_configured',
  })
})

describe('what a person reads', () => {
  const tax = {
    name: 'VAT',
    rate_ppm: 88_750,
    gross_nanousd: '1088750000',
    net_nanousd: '1000000000',
    tax_nanousd: '88750000',
    note: null,
  }
  const hostile = (): Invoice => ({
    ...invoice,
    buyer: { ...invoice.buyer, name: `<script>alert('x')</script>"&`, address: 'one\n<i>two' },
    seller: { name: '<u>', address: '<u>', country: 'XX', tax_id: '<u>' },
    tax_lines: [{ ...tax, name: '<u>', note: '<u>' }],
    lines: [{ ...invoice.lines[0]!, model: '=1+1,"<b>' }],
  })

  test('holds no markup that is not ours', () => {
    const html = invoiceHtml(hostile())
    expect(html).not.toContain('<script')
    expect(html).not.toMatch(/<[biu]>/)
    expect(html).toContain('one<br>&#60;i&#62;two')
    expect(html).toContain('&#60;script&#62;alert(&#39;x&#39;)')
  })

  test('has the parties, and the tax that is in the amounts', () => {
    const seller = { name: 'Ziya Ltd', address: '1 High Street', country: 'GB', tax_id: 'GB1' }
    const html = invoiceHtml({ ...invoice, seller, tax_lines: [tax] })
    expect(html).toContain('Ziya Ltd<br>1 High Street<br>GB<br>Tax id GB1')
    expect(html).toContain('<th>VAT 8.875 %</th><td>1.00</td><td>0.08875</td><td>1.08875</td>')
  })

  test('of a credit note has what it corrects, with the same care', () => {
    const { account_id, buyer } = invoice
    const common = {
      object: 'credit_note',
      account_id,
      number: 1,
      entry_id: '1',
      buyer,
      created_at: invoice.closed_at,
    } as const
    const ids = { id: 'cn_1_1', invoice_id: invoice.id, request_id: randomUUID(), model: '<b>' }
    const html = creditNoteHtml({
      ...common,
      ...ids,
      amount_nanousd: '5000000',
      seller: null,
      tax_lines: [{ ...tax, rate_ppm: 200_000 }],
    })
    expect(html).toContain(`<dt>Corrects</dt><dd>${invoice.id}</dd>`)
    expect(html).toContain('<td>0.005</td>')
    expect(html).toContain('VAT 20 %')
    expect(html).not.toContain('<b>')
  })

  test('holds no field that a spreadsheet would run, and quotes what it must', () => {
    expect(invoiceCsv(hostile())).toContain(`"'=1+1,""<b>"`)
  })

  test.each([
    ['0', '0.00'],
    ['1', '0.000000001'],
    ['-1230000000', '−1.23'],
    ['1234567890123456789', '1,234,567,890.123456789'],
    ['10000000', '0.01'],
    ['100000000', '0.10'],
  ])('%s nano-USD are %s', (nanousd, text) => {
    expect(dollars(nanousd)).toBe(text)
  })
})
