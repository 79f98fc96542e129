// Limits over HTTP: what a client is told, what OpenAI's own client makes of it, and the sieve before everything.

import OpenAI from 'openai'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { createKey } from '../../gateway/auth/key.ts'
import { duration } from '../../gateway/limit-headers.ts'
import { newGate } from '../support/gate.ts'
import { type Caller, callerOf, errorOf, model, startTestGateway, type TestGateway } from '../support/gateway.ts'
import { eventually } from '../support/patience.ts'

let gateway: TestGateway

beforeAll(async () => {
  gateway = await startTestGateway()
})
afterAll(() => gateway?.stop())
afterEach(() => gateway.node.calm())

const request = { model, prompt: 'x', max_tokens: 10 } // 13 tokens and 660 nano-USD at most
const C = '/v1/completions'

async function limited(own: object): Promise<Caller> {
  const { account_id } = await gateway.newCaller()
  const made = await gateway.admin('/admin/keys', { account_id, name: 'limited', ...own })
  const { id, key } = (await made.json()) as { id: string; key: string }
  return callerOf(gateway.url, { account_id, key_id: id, api_key: key })
}

const clientOf = ({ api_key }: Caller, maxRetries = 2) =>
  new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: api_key, maxRetries })

test('a reset is written as Go writes it', () => {
  const cases = [
    [0, '0s'],
    [1, '1ms'],
    [12_000, '12ms'],
    [999_001, '1s'],
    [1_500_000, '1.5s'],
    [60_000_000, '1m0s'],
    [360_000_000, '6m0s'],
    [61_250_000, '1m1.25s'],
  ] as const
  for (const [us, text] of cases) expect(duration(us)).toBe(text)
})

test('every answer says what is left of the tighter limit', async () => {
  const caller = await limited({ requests_per_minute: 6, tokens_per_minute: 600 })
  const { headers } = await caller.post(C, request)
  expect(headers.get('x-ratelimit-limit-requests')).toBe('6')
  expect(headers.get('x-ratelimit-remaining-requests')).toBe('5')
  expect(headers.get('x-ratelimit-reset-requests')).toBe('10s')
  expect(headers.get('x-ratelimit-limit-tokens')).toBe('600')
  expect(headers.get('x-ratelimit-remaining-tokens')).toBe('587')
  expect(headers.get('x-ratelimit-reset-tokens')).toBe('1.3s')
  const plain = (await (await gateway.newCaller()).post(C, request)).headers
  expect(plain.get('x-ratelimit-limit-requests')).toBe('60000') // of the deployment
})

describe('a request over a limit is a 429 that says when, or never', () => {
  test('of requests', async () => {
    const caller = await limited({ requests_per_minute: 2 })
    await Promise.all([caller.post(C, request), caller.post(C, request)])
    const refused = await caller.post(C, request)
    expect(await errorOf(refused)).toMatchObject({ status: 429, code: 'rate_limit_exceeded', type: 'requests' })
    const [seconds, ms] = ['retry-after', 'retry-after-ms'].map((name) => Number(refused.headers.get(name)))
    expect(seconds).toBe(Math.ceil(ms! / 1000))
    expect(ms).toBeGreaterThan(0)
    expect(ms).toBeLessThanOrEqual(30_000)
    expect(refused.headers.get('x-should-retry')).toBe('true')
    expect(refused.headers.get('x-ratelimit-remaining-requests')).toBe('0')
  })

  test('of tokens, which come back when less was used', async () => {
    const caller = await limited({ tokens_per_minute: 20 })
    const id = (await caller.post(C, request)).headers.get('x-request-id')
    await eventually(async () =>
      (await gateway.db.sql`select 1 from usage where request_id = ${id}`).length > 0 ? true : null,
    )
    const again = await caller.post(C, { ...request, max_tokens: 9 }) // 8 were used
    expect(again.status).toBe(200)
    const refused = await caller.post(C, request)
    expect(await errorOf(refused)).toMatchObject({ status: 429, code: 'rate_limit_exceeded', type: 'tokens' })
    expect(Number(refused.headers.get('retry-after'))).toBeLessThanOrEqual(60)
  })

  test('of tokens, by itself alone', async () => {
    const refused = await (await limited({ tokens_per_minute: 12 })).post(C, request)
    expect(refused.headers.get('x-should-retry')).toBe('false')
    expect(await errorOf(refused)).toMatchObject({ status: 429, code: 'request_too_large', type: 'tokens' })
  })

  test('of requests in flight, until one has ended', async () => {
    const caller = await limited({ requests_in_flight_max: 1 })
    const gate = newGate()
    gateway.node.options.before_answer = gate.pass
    const before = gateway.node.accepted.length
    const running = caller.post(C, request)
    await eventually(async () => (gateway.node.accepted.length > before ? true : null))
    const refused = await caller.post(C, request)
    expect(refused.headers.get('retry-after')).toBe('1')
    expect(await errorOf(refused)).toMatchObject({ status: 429, code: 'concurrency_limit_exceeded' })
    gate.open()
    await running
    await eventually(async () => ((await caller.post(C, request)).status === 200 ? true : null))
  })

  test('of a month', async () => {
    const refused = await (await limited({ monthly_spend_cap_nanousd: '659' })).post(C, request)
    expect(refused.headers.get('x-should-retry')).toBe('false')
    expect(await errorOf(refused)).toMatchObject({ status: 429, code: 'spend_cap_reached', type: 'insufficient_quota' })
    expect((await (await limited({ monthly_spend_cap_nanousd: '660' })).post(C, request)).status).toBe(200)
  })

  test.each([
    ['a cap of the key', 'spend_cap_reached', () => limited({ monthly_spend_cap_nanousd: '659' })],
    ['the balance', 'insufficient_quota', () => gateway.newCaller('659')],
  ])('of %s, and says which max_tokens fits', async (_, code, made) => {
    const caller = await made()
    const error = await errorOf(await caller.post(C, request))
    expect(error).toMatchObject({ status: 429, code })
    const fits = Number(/\$0\.00000066\b.*\$0\.000000659 .*a max_tokens of (\d+) or less/.exec(error.message)![1])
    expect((await caller.post(C, { ...request, max_tokens: fits })).status).toBe(200)
  })
})

describe('OpenAI’s own client', () => {
  test('waits as long as it is told and gets its answer', async () => {
    const caller = await limited({ requests_per_minute: 60 })
    await gateway.db
      .sql`update meters set requests_level = 60 * 60000000::bigint, levels_at_us = ledger.now_us() where key_id = ${caller.key_id}`
    const started = performance.now()
    expect((await clientOf(caller).completions.create(request)).choices).toHaveLength(1)
    expect(performance.now() - started).toBeGreaterThan(800)
  })

  test.each<[string, object]>([
    ['a cap', { monthly_spend_cap_nanousd: '1' }],
    ['a request that never fits', { tokens_per_minute: 1 }],
  ])('does not ask again for %s', async (_, own) => {
    const caller = await limited(own)
    let asked = 0
    const counting: typeof fetch = (...args) => {
      asked += 1
      return fetch(...args)
    }
    const client = new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: caller.api_key, maxRetries: 3, fetch: counting })
    await expect(client.completions.create(request)).rejects.toMatchObject({ status: 429 })
    expect(asked).toBe(1)
  })

  test('sees the limits of its answer', async () => {
    const caller = await limited({ requests_per_minute: 100 })
    const { response } = await clientOf(caller).completions.create(request).withResponse()
    expect(response.headers.get('x-ratelimit-remaining-requests')).toBe('99')
  })
})

describe('a key that is revoked while its stream runs', () => {
  test('is cut, with an error, and billed for what was generated', async () => {
    const caller = await limited({})
    gateway.node.options.completion_tokens = 1000
    gateway.node.options.after_chunk = () => eventually(async () => (gateway.node.revoked.size > 0 ? true : null))
    const answer = await caller.post(C, { ...request, max_tokens: 1000, stream: true })
    expect((await gateway.admin(`/admin/keys/${caller.key_id}`, undefined, 'DELETE')).status).toBe(200)
    const text = await answer.text()
    expect(text).toContain('request_revoked')
    expect(text).not.toContain('[DONE]')
    const id = answer.headers.get('x-request-id')
    const { value } = await eventually(async () => {
      const [row] = await gateway.db
        .sql`select outcome, completion_tokens::int, cost_nanousd from usage where request_id = ${id}`
      return row ?? null
    })
    expect(value.outcome).toBe('revoked')
    expect(value.completion_tokens).toBeGreaterThan(0)
    expect(value.completion_tokens).toBeLessThan(1000)
    expect(value.cost_nanousd).toBe(String(5 * 20 + value.completion_tokens * 60))
  })
})

describe('the sieve', () => {
  let strict: TestGateway

  beforeAll(async () => {
    strict = await startTestGateway({}, undefined, { FLOOD: 60, FAILED_AUTHENTICATION: 5 })
  })
  afterAll(() => strict?.stop())

  test('looks up no more keys from where too many were not valid, but still those it knows', async () => {
    const known = await strict.newCaller()
    const withKey = (api_key: string) =>
      fetch(`${strict.url}/v1/balance`, { headers: { authorization: `Bearer ${api_key}` } })
    expect((await withKey(known.api_key)).status).toBe(200)
    const statuses = []
    for (let i = 0; i < 8; i += 1) statuses.push((await withKey(createKey())).status)
    expect(statuses).toEqual([...Array(6).fill(401), 429, 429])
    expect((await withKey(known.api_key)).status).toBe(200)
    const refused = await withKey(createKey())
    expect(refused.headers.get('retry-after')).toBe('10')
    expect(await errorOf(refused)).toMatchObject({ status: 429, code: 'rate_limit_exceeded' })
  })

  const refusedOf = async (method: string, path: string) => {
    const ask = () => fetch(strict.url + path, { method })
    const answers = await Promise.all(Array.from({ length: 200 }, ask)) // more than two periods let through
    return answers.filter(({ headers, status }) => status === 429 && headers.get('retry-after') === '10').length
  }

  test.each([
    ['/v1/balance'],
    ['/admin/accounts'],
    ['/healthz'],
    ['/healthz/ledger'],
    ['/metrics'],
    ['/stripe/webhook'],
    ['/'],
  ])('ends a flood of %s', async (path) => {
    expect(await refusedOf('GET', path)).toBeGreaterThan(30)
  })

  test('lets every report of a node through, from where what is not signed is refused', async () => {
    expect(await refusedOf('POST', '/internal/sync')).toBe(0) // of the node's own address
    const reports = await Promise.all(Array.from({ length: 100 }, () => strict.node.sync()))
    expect(new Set(reports)).toEqual(new Set([200]))
  })

  test('ends a flood of reports from where no node is', async () => {
    const nodeless = await startTestGateway({}, undefined, { FLOOD: 1e9, FAILED_AUTHENTICATION: 5 }, { sync: false })
    const forge = () =>
      fetch(`${nodeless.url}/internal/sync`, {
        method: 'POST',
        headers: { 'x-node-signature': 'AAAA', 'x-node-key': 'A'.repeat(43) },
        body: '{}',
      })
    const statuses = []
    for (let i = 0; i < 8; i += 1) statuses.push((await forge()).status)
    expect(statuses).toEqual([...Array(6).fill(401), 429, 429])
    await nodeless.stop()
  })
})
