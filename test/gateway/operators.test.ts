// Operators by name: what each role may do, keys that are rotated and end, the log of what they change, and accounts that are suspended.

import { randomUUID } from 'node:crypto'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { AuditRecord } from '../../contract/public/audit.ts'
import type { Role } from '../../contract/public/operator.ts'
import { routes } from '../../gateway/app.ts'
import { operatorKey } from '../../gateway/auth/key.ts'
import { type Caller, callerOf, errorOf, model, startTestGateway, type TestGateway } from '../support/gateway.ts'
import { eventually } from '../support/stack.ts'

const ROLES: Role[] = ['read', 'support', 'finance', 'owner']

let gateway: TestGateway
const operators = {} as Record<Role, Caller>
let caller: Caller

beforeAll(async () => {
  gateway = await startTestGateway()
  for (const role of ROLES) operators[role] = await newOperator(role, role)
  caller = await gateway.newCaller()
})
afterAll(() => gateway?.stop())
afterEach(() => gateway.node.calm())

type Fields = Record<string, string>
const fieldsOf = async (answer: Response) => (await answer.json()) as Fields

async function newOperator(name: string, role: Role): Promise<Caller> {
  const { id } = await fieldsOf(await gateway.admin('/admin/operators', { name, role }))
  const made = await fieldsOf(await gateway.admin('/admin/operator-keys', { operator_id: id }))
  return operatorWith(id!, made)
}

function operatorWith(operator_id: string, { id, key }: Fields): Caller {
  return callerOf(gateway.url, { account_id: operator_id, key_id: id!, api_key: key! })
}

const send = (who: Caller, method: string, path: string, body?: object) =>
  who.post(path, body ?? '', { method, ...(!body && { body: null }) })

async function auditOf(query: string): Promise<AuditRecord[]> {
  const answer = await operators.read.get(`/admin/audit?${query}`)
  return ((await answer.json()) as { data: AuditRecord[] }).data
}

describe('a role', () => {
  const all = routes
    .filter(({ who }) => who === 'operator')
    .flatMap(({ path, methods }) => methods.map(({ method, role }) => [method, path, role!] as const))

  test('is declared by every endpoint of operators', () => {
    expect(all.length).toBeGreaterThan(35)
    expect(all.filter(([, , role]) => !ROLES.includes(role))).toEqual([])
    const money = all.filter(
      ([method, path]) => method !== 'GET' && /top-ups|grants|refunds|adjust|prices|billing/.test(path),
    )
    expect(money.filter(([, , role]) => role !== 'finance')).toEqual([])
    expect(all.filter(([method, , role]) => method !== 'GET' && role === 'read').map(([, path]) => path)).toEqual([
      '/admin/me/rotate',
    ])
  })

  test.each(ROLES)('%s opens what needs it, and nothing else', async (role) => {
    const who = await newOperator(`another ${role}`, role)
    for (const [method, path, needed] of all.filter(([, path]) => path !== '/admin/me/rotate')) {
      const answer = await send(who, method, path.replace(/:\w+/g, '999999'), method === 'GET' ? undefined : {})
      const is_refused = answer.status === 403
      const may = role === 'owner' || needed === 'read' || needed === role
      expect([method, path, is_refused]).toEqual([method, path, !may])
      if (is_refused) expect(await errorOf(answer)).toMatchObject({ code: 'missing_role', type: 'permission_error' })
    }
  })

  test('decides who may let an account go below zero', async () => {
    const path = `/admin/accounts/${caller.account_id}`
    const refused = { status: 403, code: 'missing_role', param: 'overdraft_nanousd' }
    expect(await errorOf(await send(operators.support, 'PATCH', path, { overdraft_nanousd: '5' }))).toMatchObject(
      refused,
    )
    expect(
      await errorOf(await operators.support.post('/admin/accounts', { name: 'a', overdraft_nanousd: '5' })),
    ).toMatchObject(refused)
    expect((await send(operators.support, 'PATCH', path, { requests_per_minute: 600 })).status).toBe(200)
    expect((await send(operators.owner, 'PATCH', path, { overdraft_nanousd: '5' })).status).toBe(200)
  })

  test('is shown to who asks; the key of the deployment is an owner’s', async () => {
    const { key_id, account_id } = operators.finance
    expect(await (await operators.finance.get('/admin/me')).json()).toMatchObject({
      name: 'finance',
      role: 'finance',
      operator_id: account_id,
      key_id,
    })
    const own = await gateway.admin('/admin/me', undefined, 'GET')
    expect(await own.json()).toMatchObject({ name: 'ADMIN_KEY', role: 'owner', operator_id: null })
  })
})

describe('a key of an operator', () => {
  test('is shown once, and stored as its hash', async () => {
    const { api_key, account_id, key_id } = operators.support
    expect(api_key).toMatch(/^zc_admin_[0-9A-Za-z]{36}$/)
    const listed = await (await operators.owner.get(`/admin/operator-keys?operator_id=${account_id}`)).text()
    expect(listed).toContain(`"${key_id}"`)
    expect(listed).not.toContain(api_key)
    const rows = await gateway.db.sql`select k::text as row from operator_keys k`
    expect(rows.map(({ row }) => row).join()).not.toContain(api_key)
  })

  test('is replaced by its own operator, and works on for the overlap', async () => {
    const who = await newOperator('rotating', 'read')
    const next = operatorWith(who.account_id, await fieldsOf(await who.post('/admin/me/rotate', { overlap_s: 60 })))
    expect([(await who.get('/admin/me')).status, (await next.get('/admin/me')).status]).toEqual([200, 200])
    const last = operatorWith(who.account_id, await fieldsOf(await next.post('/admin/me/rotate', {})))
    expect([(await next.get('/admin/me')).status, (await last.get('/admin/me')).status]).toEqual([401, 200])
    expect(await errorOf(await gateway.admin('/admin/me/rotate', {}))).toMatchObject({ status: 404 })
  })

  test('is the same where the call that made it is repeated, and no other operator is shown it', async () => {
    const under = { headers: { 'idempotency-key': randomUUID() } }
    const body = { operator_id: operators.read.account_id }
    const [first, again] = [
      await fieldsOf(await operators.owner.post('/admin/operator-keys', body, under)),
      await fieldsOf(await operators.owner.post('/admin/operator-keys', body, under)),
    ]
    expect(again).toEqual(first)
    const other = await newOperator('nosy', 'owner')
    expect(await errorOf(await other.post('/admin/operator-keys', body, under))).toMatchObject({
      code: 'idempotency_mismatch',
    })
  })

  test.each([
    [
      'has ended',
      (id: string) => gateway.db.sql`update operator_keys set expires_at = clock_timestamp() where id = ${id}`,
    ],
    ['was revoked', (id: string) => gateway.admin(`/admin/operator-keys/${id}`, undefined, 'DELETE')],
  ])('that %s opens nothing', async (_, end) => {
    const who = await newOperator(randomUUID(), 'owner')
    expect((await who.get('/admin/accounts')).status).toBe(200)
    await end(who.key_id)
    expect(await errorOf(await who.get('/admin/accounts'))).toMatchObject({ status: 401, code: 'invalid_api_key' })
    expect((await gateway.admin(`/admin/operator-keys/${who.key_id}/rotate`, {})).status).toBe(400)
  })

  test('ends with its operator, whose name stays in the log and is free again', async () => {
    const who = await newOperator('leaver', 'support')
    expect((await who.post('/admin/accounts', { name: 'made by a leaver' })).status).toBe(201)
    expect((await gateway.admin('/admin/operators', { name: 'leaver', role: 'read' })).status).toBe(400)
    expect((await gateway.admin(`/admin/operators/${who.account_id}`, undefined, 'DELETE')).status).toBe(200)
    expect((await who.get('/admin/me')).status).toBe(401)
    expect((await gateway.admin(`/admin/operators/${who.account_id}`, { role: 'owner' }, 'PATCH')).status).toBe(404)
    expect(await auditOf(`operator_id=${who.account_id}`)).toMatchObject([
      { operator_name: 'leaver', action: 'create_account' },
    ])
    expect((await newOperator('leaver', 'read')).account_id).not.toBe(who.account_id)
  })

  test('of an account opens nothing of operators, nor the other way round', async () => {
    expect((await caller.get('/admin/me')).status).toBe(401)
    expect((await operators.owner.get('/v1/balance')).status).toBe(401)
  })
})

describe('the log', () => {
  test('has who, what, before, after and from where of each change, once', async () => {
    const { account_id } = await gateway.newCaller()
    const { support, finance } = operators
    const path = `/admin/accounts/${account_id}`
    for (let i = 0; i < 2; i += 1) await send(support, 'PATCH', path, { name: 'renamed', requests_per_minute: 7 })
    await send(finance, 'PATCH', `${path}/billing`, { billing_mode: 'postpaid' })
    await send(finance, 'PATCH', `${path}/buyer`, { country: 'FR' })
    const key = await fieldsOf(await support.post('/admin/keys', { account_id, name: 'k' }))
    await send(support, 'PATCH', `/admin/keys/${key.id}`, { name: 'l' })
    await send(support, 'DELETE', `/admin/keys/${key.id}`)
    for (let i = 0; i < 2; i += 1)
      await finance.post('/admin/top-ups', { account_id, amount_nanousd: '70', reference: `r ${account_id}` })
    await support.post(`${path}/suspend`, {})
    await support.post(`${path}/resume`, {})
    const prices = { input_nanousd_per_token: '1', output_nanousd_per_token: '2' }
    await finance.post('/admin/prices', { model, account_id, ...prices })
    const log = (await auditOf(`account_id=${account_id}&limit=50`)).reverse()
    const who = {
      address: '127.0.0.1',
      operator_id: support.account_id,
      operator_key_id: support.key_id,
      operator_name: 'support',
    }
    expect(log.map(({ operator_name, action }) => `${operator_name} ${action}`)).toEqual([
      'ADMIN_KEY create_account',
      'ADMIN_KEY top_up',
      'ADMIN_KEY create_key',
      'support update_account',
      'finance update_billing',
      'finance update_buyer',
      'support create_key',
      'support update_key',
      'support revoke_key',
      'finance top_up',
      'support suspend_account',
      'support resume_account',
      'finance publish_price',
    ])
    expect(log[3]).toMatchObject({
      ...who,
      subject: `account ${account_id}`,
      before: { name: 'caller', requests_per_minute: null },
      after: { name: 'renamed', requests_per_minute: 7 },
    })
    expect(Object.keys(log[3]!.after!).sort()).toEqual(['name', 'requests_per_minute'])
    expect(log[4]).toMatchObject({ before: { billing_mode: 'prepaid' }, after: { billing_mode: 'postpaid' } })
    expect(log[7]).toMatchObject({ subject: `key ${key.id}`, before: { name: 'k' }, after: { name: 'l' } })
    expect(log[8]).toMatchObject({ before: { revoked_at: null }, after: { revoked_at: expect.any(String) } })
    expect(log[9]).toMatchObject({
      before: { balance_nanousd: '1000000000' },
      after: { balance_nanousd: '1000000070', amount_nanousd: '70', reference: `r ${account_id}` },
    })
    expect(JSON.stringify(log)).not.toContain(key.key)
  })

  test('is part of the change: where it cannot be written, nothing is changed', async () => {
    await gateway.db.sql`alter table audit add constraint closed check (action <> 'update_account') not valid`
    const changed = await send(operators.support, 'PATCH', `/admin/accounts/${caller.account_id}`, { name: 'unseen' })
    await gateway.db.sql`alter table audit drop constraint closed`
    expect(changed.status).toBe(500)
    expect(await (await caller.get('/v1/account')).json()).toMatchObject({ name: 'caller' })
  })

  test('is never changed', async () => {
    for (const statement of ["update audit set operator_name = 'x'", 'delete from audit', 'truncate audit'])
      await expect(gateway.db.sql.unsafe(statement)).rejects.toThrow('append-only')
  })

  test('has nothing of what was refused', async () => {
    const [before] = await auditOf('limit=1')
    await operators.read.post('/admin/accounts', { name: 'x' })
    await send(operators.owner, 'PATCH', '/admin/accounts/999999', { name: 'x' })
    await operators.owner.post('/admin/top-ups', { account_id: '999999', amount_nanousd: '1' })
    expect((await auditOf('limit=1'))[0]!.id).toBe(before!.id)
  })
})

describe('an account that is suspended', () => {
  const request = { model, prompt: 'x', max_tokens: 10 }
  const suspend = ({ account_id }: Caller, what = 'suspend') =>
    operators.support.post(`/admin/accounts/${account_id}/${what}`, {})

  test('generates nothing and makes no keys, but reads what it owes, until it is resumed', async () => {
    const customer = await gateway.newCaller()
    const made = await gateway.admin('/admin/keys', { account_id: customer.account_id, name: 'all', scopes: ['admin'] })
    const all = callerOf(gateway.url, { ...customer, api_key: (await fieldsOf(made)).key! })
    for (let i = 0; i < 2; i += 1)
      expect(await (await suspend(customer)).json()).toMatchObject({ suspended_at: expect.any(String) })
    const refused = { status: 403, code: 'account_suspended', type: 'permission_error' }
    for (const answer of [
      await all.post('/v1/completions', request),
      await all.post('/v1/completions', request, { headers: { 'idempotency-key': randomUUID() } }),
      await all.post('/v1/keys', { name: 'k' }),
      await all.get('/v1/keys'),
      await all.get('/v1/models'),
      await all.post('/v1/top-ups/checkout', {
        amount_nanousd: '10000000000',
        success_url: 'https://a.test',
        cancel_url: 'https://a.test',
      }),
    ])
      if (answer.status !== 404) expect(await errorOf(answer)).toMatchObject(refused)
    for (const path of ['/v1/balance', '/v1/usage', '/v1/entries', '/v1/invoices', '/v1/account', '/v1/credit-notes'])
      expect([path, (await customer.get(path)).status]).toEqual([path, 200])
    expect(await (await suspend(customer, 'resume')).json()).toMatchObject({ suspended_at: null })
    expect((await all.post('/v1/completions', request)).status).toBe(200)
  })

  test('has what runs stopped', async () => {
    const customer = await gateway.newCaller()
    Object.assign(gateway.node.options, { chunk_ms: 50, completion_tokens: 1000 })
    const answer = await customer.post('/v1/completions', { ...request, max_tokens: 1000, stream: true })
    expect((await suspend(customer)).status).toBe(200)
    const text = await answer.text()
    expect(text).toContain('request_revoked')
    expect(text).not.toContain('[DONE]')
    await suspend(customer, 'resume')
  })

  test('is refused a key of the release before as not valid, in words that it knows', async () => {
    const customer = await gateway.newCaller()
    await suspend(customer)
    const [key] = await gateway.db.sql`select encode(hash, 'hex') as key_hash from keys where id = ${customer.key_id}`
    const item = { key_hash: key!.key_hash as string, request_id: randomUUID(), model, ttl_ms: 1000 }
    const tokens = { prompt_tokens_max: 1, request_output_tokens_max: 1 }
    expect(await gateway.db.ask('admit', { ...item, ...tokens })).toEqual([{ decision: 'revoked_key' }])
    expect(await gateway.db.ask('admit', { ...item, ...tokens, knows_suspension: true })).toEqual([
      { decision: 'account_suspended' },
    ])
  })

  test('that is not there is a 404', async () => {
    expect((await operators.support.post('/admin/accounts/999999/suspend', {})).status).toBe(404)
  })
})

describe('money by hand', () => {
  const booked: [string, (account_id: string) => object][] = [
    ['/admin/top-ups', (account_id) => ({ account_id, amount_nanousd: '5000' })],
    ['/admin/grants', (account_id) => ({ account_id, amount_nanousd: '5000', expires_at: '2099-01-01T00:00:00Z' })],
    ['/admin/adjustments', (account_id) => ({ account_id, amount_nanousd: '5000', direction: 'credit' })],
  ]

  test.each(booked)(
    '%s: the same within minutes is taken for a repetition where no reference was given',
    async (path, bodyOf) => {
      const { account_id } = await gateway.newCaller('0')
      const body = bodyOf(account_id)
      const { finance } = operators
      const first = await finance.post(path, body)
      expect(first.status).toBe(201)
      const { id } = await fieldsOf(first)
      const again = await errorOf(await finance.post(path, body))
      expect(again).toMatchObject({ status: 409, code: 'repeated_by_hand', param: 'reference' })
      expect(again.message).toContain(`entry ${id}`)
      expect((await finance.post(path, { ...body, again: true })).status).toBe(201)
      expect((await finance.post(path, { ...body, reference: randomUUID() })).status).toBe(201)
      expect((await finance.post(path, { ...body, amount_nanousd: '5001' })).status).toBe(201)
      const other = await gateway.newCaller('0')
      expect((await finance.post(path, bodyOf(other.account_id))).status).toBe(201)
      expect(await (await gateway.admin(`/admin/accounts/${account_id}`, undefined, 'GET')).json()).toMatchObject({
        balance_nanousd: '20001',
      })
    },
  )

  test('refunds of one request alike are noticed; of two requests they are two', async () => {
    const customer = await gateway.newCaller()
    const requests: string[] = []
    for (let i = 0; i < 2; i += 1)
      requests.push(
        (await customer.post('/v1/completions', { model, prompt: 'x', max_tokens: 5 })).headers.get('x-request-id')!,
      )
    const { finance } = operators
    const refund = (request_id: string) =>
      finance.post('/admin/refunds', { account_id: customer.account_id, request_id, amount_nanousd: '7' })
    for (const request_id of requests)
      await eventually(async () => ((await refund(request_id)).status === 201 ? true : null), 15_000)
    for (const request_id of requests)
      expect(await errorOf(await refund(request_id))).toMatchObject({ code: 'repeated_by_hand' })
  })
})

describe('who guesses', () => {
  let strict: TestGateway
  const headers = (key: string) => ({ headers: { authorization: `Bearer ${key}` } })
  const me = (key: string) => fetch(`${strict.url}/admin/me`, headers(key))

  beforeAll(async () => {
    strict = await startTestGateway({}, undefined, { FLOOD: 1e9, FAILED_AUTHENTICATION: 5 })
  })
  afterAll(() => strict?.stop())

  test('operators’ keys is locked out, is in the log, and does not shut out who was let in before', async () => {
    expect((await me(strict.admin_key)).status).toBe(200)
    const statuses: number[] = []
    for (let i = 0; i < 10; i += 1) statuses.push((await me(i % 2 ? await operatorKey(null) : `guess-${i}`)).status)
    expect(statuses).toEqual([...Array(6).fill(401), ...Array(4).fill(429)])
    expect((await me(strict.admin_key)).status).toBe(200)
    expect(
      strict.log.filter((line) => line.includes('too many wrong operators’ keys came from 127.0.0.1')),
    ).toHaveLength(1)
    const metrics = await (await fetch(`${strict.url}/metrics`, headers(strict.metrics_token))).text()
    expect(metrics).toContain('gateway_refusals{code="invalid_api_key"} 6\n')
    expect(metrics).toContain('gateway_refusals{code="too_many_failures"} 4\n')
  })

  test('locks out no customer behind the same address', async () => {
    const { api_key } = await strict.newCaller()
    expect((await fetch(`${strict.url}/v1/balance`, headers(api_key))).status).toBe(200)
  })
})
