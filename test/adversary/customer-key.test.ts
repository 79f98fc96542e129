// Somebody holds a customer's key, and tries with it what is not theirs: each thing is refused, nothing of another account is read or moved,
// and whoever runs the service can see that it was tried: in the log, the metrics or the log of operators.

import { randomUUID } from 'node:crypto'
import { request as httpRequest } from 'node:http'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { routes } from '../../gateway/app.ts'
import { createKey, operatorKey } from '../../gateway/auth/key.ts'
import { type Caller, callerOf, errorOf, model, startTestGateway, type TestGateway } from '../support/gateway.ts'
import { ledgerFindings } from '../support/postgres.ts'
import { eventually } from '../support/stack.ts'

let gateway: TestGateway
let victim: Caller // another account's
let thief: Caller // the key that was taken: all scopes on its own account
let request_id: string // of the victim
let before: unknown

const completion = { model, prompt: 'x', max_tokens: 2 }

beforeAll(async () => {
  gateway = await startTestGateway()
  victim = await gateway.newCaller()
  thief = await keyOf((await gateway.newCaller()).account_id, { scopes: ['admin'] })
  request_id = (await victim.post('/v1/completions', completion)).headers.get('x-request-id')!
  await eventually(async () => ((await bookOf(victim)).length > 1 ? true : null))
  before = await everythingOf(victim)
})
afterAll(() => gateway?.stop())

async function keyOf(account_id: string, own: object): Promise<Caller> {
  const made = await gateway.admin('/admin/keys', { account_id, name: 'k', ...own })
  const { id, key } = (await made.json()) as { id: string; key: string }
  return callerOf(gateway.url, { account_id, key_id: id, api_key: key })
}

const bookOf = ({ account_id }: Caller) =>
  gateway.db.sql`select * from entries where account_id = ${account_id} order by sequence`

async function everythingOf(caller: Caller): Promise<unknown> {
  const { account_id } = caller
  const { sql } = gateway.db
  const [account] = await sql`select * from accounts where id = ${account_id}`
  return {
    account,
    entries: await bookOf(caller),
    keys: await sql`select * from keys where account_id = ${account_id} order by id`,
  }
}

const send = (who: Caller, method: string, path: string, body?: object, headers: Record<string, string> = {}) =>
  who.post(path, body ?? '', { method, headers, ...(!body && { body: null }) })

/** What the gateway's log has of refusals with this code, and how many the metrics count. */
async function seen(code: string): Promise<{ lines: string[]; count: number }> {
  const answer = await fetch(`${gateway.url}/metrics`, {
    headers: { authorization: `Bearer ${gateway.metrics_token}` },
  })
  const [, count = '0'] = new RegExp(`gateway_refusals\\{code="${code}"\\} (\\d+)`).exec(await answer.text()) ?? []
  return { lines: gateway.log.filter((line) => line.includes(`refused: ${code} `)), count: Number(count) }
}

interface Attempt {
  what: string
  run: () => Promise<Response>
  status: number
  code: string
}

const attempts: Attempt[] = [
  { what: 'another’s receipt', run: () => thief.get(`/v1/usage/${request_id}`), status: 404, code: 'not_found' },
  { what: 'another’s key', run: () => thief.get(`/v1/keys/${victim.key_id}`), status: 404, code: 'not_found' },
  {
    what: 'to change another’s key',
    run: () => send(thief, 'PATCH', `/v1/keys/${victim.key_id}`, { name: 'mine' }),
    status: 404,
    code: 'not_found',
  },
  {
    what: 'to revoke another’s key',
    run: () => send(thief, 'DELETE', `/v1/keys/${victim.key_id}`),
    status: 404,
    code: 'not_found',
  },
  {
    what: 'to rotate another’s key into its hands',
    run: () => send(thief, 'POST', `/v1/keys/${victim.key_id}/rotate`, {}),
    status: 404,
    code: 'not_found',
  },
  {
    what: 'another’s invoice',
    run: () => thief.get(`/v1/invoices/inv_${victim.account_id}_1`),
    status: 404,
    code: 'not_found',
  },
  {
    what: 'another’s credit note',
    run: () => thief.get(`/v1/credit-notes/cn_${victim.account_id}_1`),
    status: 404,
    code: 'not_found',
  },
  {
    what: 'another’s entries by a parameter',
    run: () => thief.get(`/v1/entries?account_id=${victim.account_id}`),
    status: 400,
    code: 'unknown_parameter',
  },
  {
    what: 'another’s usage by a parameter',
    run: () => thief.get(`/v1/usage?group_by=day&account_id=${victim.account_id}`),
    status: 400,
    code: 'unknown_parameter',
  },
  {
    what: 'a key for another’s account',
    run: () => thief.post('/v1/keys', { name: 'k', account_id: victim.account_id }),
    status: 400,
    code: 'unknown_parameter',
  },
  {
    what: 'a refund for itself',
    run: () => thief.post('/admin/refunds', { account_id: thief.account_id, request_id }),
    status: 401,
    code: 'invalid_api_key',
  },
  {
    what: 'credit for itself',
    run: () => thief.post('/admin/top-ups', { account_id: thief.account_id, amount_nanousd: '1000000000' }),
    status: 401,
    code: 'invalid_api_key',
  },
  {
    what: 'a higher overdraft',
    run: () => send(thief, 'PATCH', `/admin/accounts/${thief.account_id}`, { overdraft_nanousd: '1' }),
    status: 401,
    code: 'invalid_api_key',
  },
  {
    what: 'to be an operator',
    run: () => thief.post('/admin/operators', { name: 'me', role: 'owner' }),
    status: 401,
    code: 'invalid_api_key',
  },
  { what: 'the log of operators', run: () => thief.get('/admin/audit'), status: 401, code: 'invalid_api_key' },
  { what: 'the metrics', run: () => thief.get('/metrics'), status: 401, code: 'invalid_api_key' },
  {
    what: 'to report as a node',
    run: () => thief.post('/internal/sync', { node: {}, records: [] }),
    status: 401,
    code: 'invalid_api_key',
  },
]

describe('with every scope on its own account it asks in vain for', () => {
  test.each(attempts)('$what', async ({ run, status, code }) => {
    const [answer, was] = [await run(), (await seen(code)).count]
    expect(await errorOf(answer)).toMatchObject({ status, code })
    if (code === 'unknown_parameter') return // a wrong call, whoever makes it
    expect(was).toBeGreaterThan(0)
    expect((await seen(code)).lines.length).toBeGreaterThan(0)
  })

  test('any endpoint of operators, by guess', async () => {
    const { count } = await seen('invalid_api_key')
    const all = routes
      .filter(({ who }) => who === 'operator')
      .flatMap(({ path, methods }) => methods.map(({ method }) => ({ path, method })))
    for (const { path, method } of all) {
      const answer = await send(thief, method, path.replace(/:\w+/g, '1'), method === 'GET' ? undefined : {})
      expect([method, path, answer.status]).toEqual([method, path, 401])
    }
    expect((await seen('invalid_api_key')).count).toBe(count + all.length)
  })
})

test('with a key of few scopes it gets no more: not by the key, not by one that it makes', async () => {
  const poor = await keyOf(thief.account_id, { scopes: ['keys'] })
  expect(await errorOf(await poor.get('/v1/usage'))).toMatchObject({ status: 403, code: 'missing_scope' })
  expect(await errorOf(await poor.post('/v1/completions', completion))).toMatchObject({
    status: 403,
    code: 'missing_scope',
  })
  expect(await errorOf(await poor.post('/v1/keys', { name: 'k', scopes: ['admin'] }))).toMatchObject({
    code: 'exceeds_own_key',
  })
  expect(await errorOf(await send(poor, 'POST', `/v1/keys/${thief.key_id}/rotate`, {}))).toMatchObject({
    code: 'exceeds_own_key',
  })
  for (const code of ['missing_scope', 'exceeds_own_key']) {
    const { lines, count } = await seen(code)
    expect(lines.length).toBeGreaterThan(0)
    expect(count).toBeGreaterThan(1)
    expect(lines[0]).toMatch(/ by the key of hash [0-9a-f]{12}$/)
  }
})

test('a key that was rotated away, revoked or made up opens nothing', async () => {
  const old = await keyOf(thief.account_id, { scopes: ['usage'] })
  await send(thief, 'POST', `/v1/keys/${old.key_id}/rotate`, {})
  const revoked = await keyOf(thief.account_id, { scopes: ['usage'] })
  await send(thief, 'DELETE', `/v1/keys/${revoked.key_id}`)
  const madeUp = callerOf(gateway.url, { ...thief, api_key: createKey() })
  const operators = callerOf(gateway.url, { ...thief, api_key: await operatorKey(null) })
  for (const who of [old, revoked, madeUp, operators])
    expect(await errorOf(await who.get('/v1/balance'))).toMatchObject({ status: 401, code: 'invalid_api_key' })
  expect((await operators.get('/admin/me')).status).toBe(401)
})

test('a suspended account’s key opens nothing that costs, and none that it makes or made does', async () => {
  const suspended = await keyOf((await gateway.newCaller()).account_id, { scopes: ['admin'] })
  const made = await keyOf(suspended.account_id, { scopes: ['generate'] })
  await gateway.admin(`/admin/accounts/${suspended.account_id}/suspend`, {})
  for (const answer of [
    await suspended.post('/v1/completions', completion),
    await made.post('/v1/completions', completion),
    await suspended.post('/v1/keys', { name: 'k' }),
    await send(suspended, 'PATCH', `/v1/keys/${made.key_id}`, { name: 'k' }),
  ])
    expect(await errorOf(answer)).toMatchObject({ status: 403, code: 'account_suspended' })
  expect((await seen('account_suspended')).lines.length).toBeGreaterThan(0)
  const [record] = (
    (await (await gateway.admin(`/admin/audit?account_id=${suspended.account_id}`, undefined, 'GET')).json()) as {
      data: object[]
    }
  ).data
  expect(record).toMatchObject({ action: 'suspend_account' })
})

test('a key that is bound to addresses is bound, whatever headers say', async () => {
  const bound = await keyOf(thief.account_id, { scopes: ['admin'], allowed_ips: ['10.0.0.0/8'] })
  const here = '10.0.0.1'
  const claims: Record<string, string>[] = [
    { 'cf-connecting-ip': here },
    { 'x-forwarded-for': here },
    { 'x-forwarded-for': `${here}, 127.0.0.1` },
    { 'x-real-ip': here },
    { forwarded: `for=${here}` },
    { 'true-client-ip': here },
    { 'x-client-ip': here },
    { 'x-cluster-client-ip': here },
    { 'fastly-client-ip': here },
    { 'cf-connecting-ipv6': '::ffff:10.0.0.1' },
    { 'cf-pseudo-ipv4': here },
  ]
  for (const headers of claims) {
    expect(await errorOf(await send(bound, 'GET', '/v1/balance', undefined, headers))).toMatchObject({
      code: 'address_not_allowed',
    })
    expect(await errorOf(await send(bound, 'POST', '/v1/completions', completion, headers))).toMatchObject({
      code: 'address_not_allowed',
    })
    const raise = await send(bound, 'PATCH', `/v1/keys/${bound.key_id}`, { allowed_ips: null }, headers)
    expect(await errorOf(raise)).toMatchObject({ code: 'address_not_allowed' })
  }
  expect(await statusRaw(bound, ['cf-connecting-ip', here, 'cf-connecting-ip', here])).toBe(403) // twice, as no client of ours sends it
  expect((await seen('address_not_allowed')).lines.length).toBeGreaterThan(0)
})

/** The status of a request whose headers are written as they stand. */
function statusRaw({ api_key }: Caller, headers: string[]): Promise<number> {
  const { hostname, port } = new URL(gateway.url)
  return new Promise((done, fail) => {
    const all = ['authorization', `Bearer ${api_key}`, 'host', `${hostname}:${port}`, ...headers]
    httpRequest({ hostname, port, path: '/v1/balance', headers: all }, (answer) => {
      answer.resume()
      done(answer.statusCode!)
    })
      .on('error', fail)
      .end()
  })
}

test('an Idempotency-Key of another account’s, or of another key’s, shows nothing of what it kept', async () => {
  const headers = { 'idempotency-key': randomUUID() }
  const secret = (await (await victim.post('/v1/completions', completion, { headers })).text()).slice(0, 60)
  const answer = await thief.post('/v1/completions', completion, { headers })
  expect(answer.headers.get('idempotency-replayed')).toBeNull()
  expect(await answer.text()).not.toContain(secret)
  const made = await thief.post('/v1/keys', { name: 'made' }, { headers })
  const { key } = (await made.json()) as { key: string }
  const other = await keyOf(thief.account_id, { scopes: ['keys'] })
  const stolen = await other.post('/v1/keys', { name: 'made' }, { headers })
  expect(await stolen.clone().text()).not.toContain(key)
  expect(await errorOf(stolen)).toMatchObject({ code: 'idempotency_mismatch' })
})

test('many made-up keys from its address shut out nobody who comes from there with a good one', async () => {
  const strict = await startTestGateway({}, undefined, { FLOOD: 1e9, FAILED_AUTHENTICATION: 5 })
  const balance = (key: string) => fetch(`${strict.url}/v1/balance`, { headers: { authorization: `Bearer ${key}` } })
  const neighbours = [await strict.newCaller(), await strict.newCaller()] // none of them was seen before
  const statuses: number[] = []
  for (let i = 0; i < 12; i += 1) statuses.push((await balance(createKey())).status)
  expect(statuses).toEqual([...Array(6).fill(401), ...Array(6).fill(429)])
  for (const { api_key } of neighbours) expect((await balance(api_key)).status).toBe(200)
  expect((await strict.admin('/admin/me', undefined, 'GET')).status).toBe(200)
  expect(await strict.node.sync()).toBe(200)
  expect((await balance(createKey())).status).toBe(429)
  expect(strict.log.some((line) => line.includes('refused: too_many_failures GET /v1/'))).toBe(true)
  await strict.stop()
})

test('nothing of the other account was moved or changed, and the books balance', async () => {
  const after = (await everythingOf(victim)) as { entries: object[] }
  const were = before as { entries: object[] }
  expect(after.entries.slice(0, were.entries.length)).toEqual(were.entries)
  expect((after as unknown as { keys: object }).keys).toEqual((before as { keys: object }).keys)
  expect(await ledgerFindings(gateway.db.sql, [victim.account_id, thief.account_id])).toEqual([])
})
