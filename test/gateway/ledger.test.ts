// Prices, receipts, usage reports, an operator's entries and the health of the ledger, over HTTP.

import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type ReceiptKey, verifyReceipt } from '../../contract/public/receipt.ts'
import { startGateway } from '../../local/gateway.ts'
import { type Caller, errorOf, model, startTestGateway, type TestGateway } from '../support/gateway.ts'
import { TICKET_SEED } from '../support/keys.ts'
import { PATIENCE_MS } from '../support/patience.ts'
import { eventually } from '../support/stack.ts'

let gateway: TestGateway

beforeAll(async () => {
  gateway = await startTestGateway()
})
afterAll(() => gateway?.stop())

type Json = Record<string, unknown>
const json = async (response: Response) => (await response.json()) as Json
const request = { model, prompt: 'x', max_tokens: 10 }

async function settled(caller: Caller): Promise<Json> {
  const id = (await caller.post('/v1/completions', request)).headers.get('x-request-id')
  const { value } = await eventually(async () => {
    const usage = await json(await caller.get(`/v1/usage/${id}`))
    return usage.state === 'posted' ? usage : null
  })
  return value
}

async function receiptKeys(gateway_url: string): Promise<ReceiptKey[]> {
  return ((await (await fetch(`${gateway_url}/.well-known/receipt-keys.json`)).json()) as { keys: ReceiptKey[] }).keys
}

test('a receipt verifies with the key that anybody can read, and not once it was changed', async () => {
  const receipt = await settled(await gateway.newCaller())
  const keys = await receiptKeys(gateway.url)
  expect(receipt).toMatchObject({ price_version: 1, prompt_tokens: 5, delivered_tokens: 3, entries: [{ sequence: 2 }] })
  expect(await verifyReceipt(receipt, keys)).toBe(true)
  expect(await verifyReceipt({ ...receipt, cost_nanousd: '1' }, keys)).toBe(false)
})

test('a receipt outlives the key it was signed with, which signs nothing more once it was replaced', async () => {
  const receipt = await settled(await gateway.newCaller())
  const { kid } = receipt.signature as { kid: string }
  const RECEIPT_SEED = Buffer.alloc(32, 9).toString('base64url')
  const secrets = { ticket_seeds: TICKET_SEED, admin_key: gateway.admin_key }
  const next = await startGateway({ port: 0, database_url: gateway.db.url, ...secrets, vars: { RECEIPT_SEED } })
  const newer = await receiptKeys(next.url)
  expect(newer).toHaveLength(2)
  expect(newer[0]!.kid).not.toBe(kid)
  expect(newer.every(({ exp, nbf }) => exp === undefined && nbf! <= Date.now() / 1000)).toBe(true)
  expect(await verifyReceipt(receipt, newer)).toBe(true)

  await gateway.db.sql`update receipt_keys set last_noted_at = last_noted_at - interval '3 hours',
    first_noted_at = first_noted_at - interval '3 hours' where kid = ${kid}`
  const later = await receiptKeys(next.url)
  expect(later.map((key) => [key.kid === kid, key.exp !== undefined])).toEqual([
    [false, false],
    [true, true],
  ])
  expect(await verifyReceipt(receipt, later)).toBe(false) // by now it was signed an hour after its key was given up
  await next.stop()
  await gateway.db.sql`update receipt_keys set last_noted_at = clock_timestamp() where kid = ${kid}`
})

describe('usage is added up', () => {
  test('by day, model, key and tag, as JSON and as CSV', async () => {
    const caller = await gateway.newCaller()
    await gateway.admin(`/admin/keys/${caller.key_id}`, { tags: ['blue', 'green', 'blue'] }, 'PATCH')
    await settled(caller)
    await settled(caller)
    const { data } = (await json(await caller.get('/v1/usage?group_by=day,model'))) as { data: Json[] }
    expect(data).toMatchObject([{ model, requests: 2, prompt_tokens: 10, completion_tokens: 6, cost_nanousd: '560' }])
    const byTag = await (await caller.get('/v1/usage?group_by=tag&format=csv')).text()
    const sums = '2,10,0,6,560,0,560'
    expect(byTag).toBe(
      `tag,requests,prompt_tokens,cached_tokens,completion_tokens,cost_nanousd,refunded_nanousd,net_nanousd\r\nblue,${sums}\r\ngreen,${sums}\r\n`,
    )
    const operators = await gateway.admin(`/admin/usage?account_id=${caller.account_id}&by=key`, undefined, 'GET')
    expect((await json(operators)).data).toMatchObject([{ key_id: caller.key_id, requests: 2 }])
  })

  test('of one account, and what is asked wrongly is named', async () => {
    await settled(await gateway.newCaller())
    const stranger = await gateway.newCaller()
    expect(await json(await stranger.get('/v1/usage?group_by=day'))).toMatchObject({ data: [] })
    for (const [query, param] of [
      ['group_by=colour', 'group_by'],
      ['group_by=day&from=yesterday', 'from'],
      ['group_by=day&from=2026-02-02&to=2026-02-02', 'to'],
      ['group_by=day&x=1', 'x'],
    ])
      expect(await errorOf(await stranger.get(`/v1/usage?${query}`))).toMatchObject({ status: 400, param })
  })
})

describe('a price', () => {
  const price = {
    model,
    input_nanousd_per_token: '10',
    cached_input_nanousd_per_token: '1',
    output_nanousd_per_token: '30',
  }
  const publish = (own: object) => gateway.admin('/admin/prices', { ...price, ...own })

  test('agreed with one account is its alone, and is what it is charged', async () => {
    const [caller, other] = [await gateway.newCaller(), await gateway.newCaller()]
    const published = await publish({ account_id: caller.account_id })
    expect(published.status).toBe(201)
    const { version } = await json(published)
    expect(await settled(caller)).toMatchObject({ price_version: version, cost_nanousd: String(5 * 10 + 3 * 30) })
    expect(await settled(other)).toMatchObject({ price_version: 1, cost_nanousd: '280' })
    expect(await json(await caller.get(`/v1/models/${model}`))).toMatchObject({
      pricing: { version, cached_input_nanousd_per_token: '1' },
    })
  })

  test('that begins later is not yet charged', async () => {
    const caller = await gateway.newCaller()
    await publish({ account_id: caller.account_id, valid_from: new Date(Date.now() + 3_600_000).toISOString() })
    expect(await settled(caller)).toMatchObject({ price_version: 1 })
    const list = await json(await gateway.admin(`/admin/prices?account_id=${caller.account_id}`, undefined, 'GET'))
    expect(list.data).toHaveLength(1)
  })

  test.each([
    [{ valid_from: '2020-01-01T00:00:00Z' }, 400, 'valid_from'],
    [{ valid_until: '2099-01-01T00:00:00Z' }, 400, 'valid_until'],
    [{ cached_input_nanousd_per_token: '11' }, 400, 'cached_input_nanousd_per_token'],
    [{ account_id: '999999' }, 404, 'account_id'],
    [{ account_id: '1', valid_until: '2020-01-01T00:00:00Z' }, 400, 'valid_until'],
  ])('with %o is refused', async (own, status, param) => {
    expect(await errorOf(await publish(own))).toMatchObject({ status, param })
  })
})

test('a price that could not be published is not said to be wrong', async () => {
  const rename = (from: string, to: string) =>
    gateway.db.sql.unsafe(`alter function ledger.${from}(jsonb) rename to ${to}`)
  await rename('publish_one_price', 'away')
  const price = { model, input_nanousd_per_token: '1', output_nanousd_per_token: '1' }
  expect(await errorOf(await gateway.admin('/admin/prices', price))).toMatchObject({ status: 500, param: null })
  await rename('away', 'publish_one_price')
})

describe('the operator', () => {
  test('refunds once by a reference, and never more than was charged', async () => {
    const caller = await gateway.newCaller()
    const { request_id } = await settled(caller)
    const refund = { account_id: caller.account_id, request_id, amount_nanousd: '200', reference: randomUUID() }
    const first = await json(await gateway.admin('/admin/refunds', refund))
    expect(await json(await gateway.admin('/admin/refunds', refund))).toEqual(first)
    const again = { ...refund, reference: randomUUID() }
    expect(await errorOf(await gateway.admin('/admin/refunds', again))).toMatchObject({
      status: 400,
      param: 'amount_nanousd',
    })
    const rest = await json(await gateway.admin('/admin/refunds', { ...again, amount_nanousd: null }))
    expect(rest.amount_nanousd).toBe('80')
    expect((await json(await caller.get('/v1/balance'))).balance_nanousd).toBe('1000000000')
  })

  test('gives credit that ends', async () => {
    const caller = await gateway.newCaller('0')
    const grant = { account_id: caller.account_id, amount_nanousd: '1000', reference: randomUUID() }
    await gateway.admin('/admin/grants', { ...grant, expires_at: new Date(Date.now() + 3_600_000).toISOString() })
    await settled(caller)
    await gateway.db.sql`update grants set expires_at = clock_timestamp() where account_id = ${caller.account_id}`
    expect(await errorOf(await caller.post('/v1/completions', request))).toMatchObject({ code: 'insufficient_quota' })
    expect((await json(await caller.get('/v1/balance'))).balance_nanousd).toBe('0')
  })

  test('debits beyond the balance only where it says so', async () => {
    const { account_id } = await gateway.newCaller('100')
    const debit = { account_id, direction: 'debit', amount_nanousd: '101', reference: randomUUID(), note: 'chargeback' }
    expect(await errorOf(await gateway.admin('/admin/adjustments', debit))).toMatchObject({ param: 'amount_nanousd' })
    const forced = await gateway.admin('/admin/adjustments', { ...debit, may_overdraw: true })
    expect(await json(forced)).toMatchObject({ kind: 'adjustment_late_debit', amount_nanousd: '101' })
  })
})

// What anybody may ask is answered from what was found within the last second.
async function expectHealth(wanted: object) {
  const ask = async () => {
    const response = await fetch(`${gateway.url}/healthz/ledger`)
    return { http: response.status, ...(await json(response)) }
  }
  await expect.poll(ask, { timeout: PATIENCE_MS }).toMatchObject(wanted)
}

test('a ledger that drifts fails its health check by the name of the check, and is a metric', async () => {
  const { account_id } = await gateway.newCaller()
  const drift = (nanousd: number) =>
    gateway.db.sql`update accounts set credited_nanousd = credited_nanousd + ${nanousd} where id = ${account_id}`
  await gateway.runScheduled()
  await expectHealth({ http: 200, status: 'ok', failing: [] })
  await drift(5)
  await gateway.runScheduled()
  await expectHealth({ http: 503, status: 'drift', failing: ['credited'] })
  const bearer = (token: string) => ({ headers: { authorization: `Bearer ${token}` } })
  const metrics = await (await fetch(`${gateway.url}/metrics`, bearer(gateway.metrics_token))).text()
  expect(metrics).toContain('gateway_ledger_drift_nanousd{check="credited"} 5\n')
  expect((await fetch(`${gateway.url}/metrics`)).status).toBe(401)
  expect((await fetch(`${gateway.url}/metrics`, bearer(gateway.admin_key))).status).toBe(401)
  const { findings } = await json(await gateway.admin('/admin/reconcile', undefined, 'GET'))
  expect(findings).toMatchObject([{ check: 'credited', account_id, drift_nanousd: '5' }])
  await drift(-5)
  await gateway.runScheduled()
  await expectHealth({ http: 200, status: 'ok', failing: [] })
})

test('a ledger is unchecked until a pass was completed, and where none was for ten minutes', async () => {
  await gateway.db.sql`update ledger_passes set checked_at = null, started_anew_at = clock_timestamp()`
  await expectHealth({ http: 503, status: 'unchecked', failing: ['unchecked'], checked_s_ago: null })
  await gateway.runScheduled()
  await expectHealth({ http: 200, status: 'ok', failing: [] })
  await gateway.db.sql`update ledger_passes set checked_at = clock_timestamp() - interval '601 seconds'`
  await expectHealth({ http: 503, status: 'unchecked', failing: ['unchecked'] })
  await gateway.runScheduled()
})

test('a ledger that is older than what a node was told says so, until the node has told everything again', async () => {
  const id = randomUUID()
  const tell = async (mark: number, is_resending: boolean) =>
    (await json(await gateway.node.report([], { journal: { id, mark, is_resending } }))).journal
  expect(await tell(0, false)).toEqual({ mark: 0, is_behind: false })
  expect(await tell(3, false)).toEqual({ mark: 0, is_behind: true })
  await expectHealth({ http: 503, failing: ['journals'] })
  expect(await tell(0, true)).toEqual({ mark: 0, is_behind: false })
  await expectHealth({ http: 503, failing: ['journals'] })
  expect(await tell(0, false)).toEqual({ mark: 0, is_behind: false })
  await expectHealth({ http: 200, failing: [] })
})
