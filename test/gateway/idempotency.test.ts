// Idempotency-Key over HTTP: done once, answered again, billed once; whoever asks at the same time, leaves, or loses the worker.

import { randomUUID } from 'node:crypto'
import OpenAI from 'openai'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { newGate } from '../support/gate.ts'
import { type Caller, callerOf, errorOf, model, startTestGateway, type TestGateway } from '../support/gateway.ts'
import { eventually } from '../support/stack.ts'

let gateway: TestGateway
let caller: Caller

beforeAll(async () => {
  gateway = await startTestGateway()
  const { account_id } = await gateway.newCaller()
  const made = await gateway.admin('/admin/keys', { account_id, name: 'all', scopes: ['admin'] })
  const { id, key } = (await made.json()) as { id: string; key: string }
  caller = callerOf(gateway.url, { account_id, key_id: id, api_key: key })
})
afterAll(() => gateway?.stop())
afterEach(() => gateway.node.calm())

const request = { model, prompt: 'x', max_tokens: 10 }
const C = '/v1/completions'
const under = (key: string) => ({ headers: { 'idempotency-key': key } })
const entriesOf = async (request_id: string) => gateway.db.sql`select 1 from entries where request_id = ${request_id}`

async function settled(request_id: string): Promise<void> {
  await eventually(async () => ((await entriesOf(request_id)).length > 0 ? true : null))
}

/** Lets the moment pass in which a result may still come. */
async function age(request_id: string): Promise<void> {
  await settled(request_id)
  await gateway.db
    .sql`update reservations set closed_at = closed_at - interval '1 minute' where request_id = ${request_id}`
}

describe.each([
  ['a whole answer', request],
  ['a stream', { ...request, stream: true, stream_options: { include_usage: true } }],
])('%s', (_, body) => {
  test('is answered again byte for byte, under its request id, and billed once', async () => {
    const key = randomUUID()
    const first = await caller.post(C, body, under(key))
    const text = await first.text()
    expect(first.headers.get('idempotency-replayed')).toBeNull()
    const again = await caller.post(C, body, under(key))
    expect(await again.text()).toBe(text)
    expect(again.headers.get('idempotency-replayed')).toBe('true')
    for (const name of ['x-request-id', 'content-type']) expect(again.headers.get(name)).toBe(first.headers.get(name))
    expect(again.status).toBe(200)
    const count = gateway.node.accepted.filter(
      ({ request: { request_id } }) => request_id === first.headers.get('x-request-id'),
    )
    expect(count).toHaveLength(1)
    await settled(first.headers.get('x-request-id')!)
    expect(await entriesOf(first.headers.get('x-request-id')!)).toHaveLength(1)
  })

  test('that is asked for a hundred times at once runs once; the others are told to wait', async () => {
    gateway.node.options.chunk_ms = 300
    const before = gateway.node.accepted.length
    const key = randomUUID()
    const answers = await Promise.all(Array.from({ length: 100 }, () => caller.post(C, body, under(key))))
    const refused = answers.filter(({ status }) => status === 409)
    const ids = new Set(
      answers.filter(({ status }) => status === 200).map(({ headers }) => headers.get('x-request-id')),
    )
    expect(ids.size).toBe(1)
    expect(gateway.node.accepted.length - before).toBe(1)
    for (const answer of refused) {
      expect(answer.headers.get('retry-after')).toBe('1')
      expect(await errorOf(answer)).toMatchObject({ code: 'idempotency_running', param: 'Idempotency-Key' })
    }
    expect(answers.every(({ status }) => status === 200 || status === 409)).toBe(true)
  })

  test('that was given back is asked for anew', async () => {
    const key = randomUUID()
    gateway.node.options.refuse = 'overloaded'
    expect((await caller.post(C, body, under(key))).status).toBe(503)
    delete gateway.node.options.refuse
    const first = await caller.post(C, body, under(key))
    expect([first.status, first.headers.get('idempotency-replayed')]).toEqual([200, null])
    await first.text()
    expect((await caller.post(C, body, under(key))).headers.get('idempotency-replayed')).toBe('true')
  })

  test('with another body is a 422; the same fields in another order are the same body', async () => {
    const key = randomUUID()
    const first = await (await caller.post(C, body, under(key))).text()
    const other = await caller.post(C, { ...body, max_tokens: 9 }, under(key))
    expect(other.headers.get('x-should-retry')).toBe('false')
    expect(await errorOf(other)).toMatchObject({ status: 422, code: 'idempotency_mismatch', param: 'Idempotency-Key' })
    const turned = Object.fromEntries(Object.entries(body).toReversed())
    expect(await (await caller.post(C, turned, under(key))).text()).toBe(first)
  })

  test('is another account’s own, and another endpoint’s', async () => {
    const key = randomUUID()
    const other = await gateway.newCaller()
    const ids = [
      (await caller.post(C, body, under(key))).headers.get('x-request-id'),
      (await other.post(C, body, under(key))).headers.get('x-request-id'),
    ]
    expect(new Set(ids).size).toBe(2)
    const chat = { model, messages: [{ role: 'user', content: 'x' }] }
    expect((await caller.post('/v1/chat/completions', chat, under(key))).status).toBe(200)
  })
})

test('a client that leaves before the whole answer finds it when it asks again', async () => {
  const gate = newGate()
  gateway.node.options.before_answer = gate.pass
  const key = randomUUID()
  const leave = new AbortController()
  const before = gateway.node.accepted.length
  const left = caller.post(C, request, { ...under(key), signal: leave.signal }).catch(() => null)
  await eventually(async () => (gateway.node.accepted.length > before ? true : null))
  leave.abort()
  await left
  gate.open()
  const { value } = await eventually(async () => {
    const again = await caller.post(C, request, under(key))
    return again.status === 200 ? again : null
  })
  expect(value.headers.get('idempotency-replayed')).toBe('true')
  expect(gateway.node.accepted.length - before).toBe(1)
})

test('a stream that its client left is not run again: a 409 names its bill', async () => {
  Object.assign(gateway.node.options, { after_chunk: newGate().pass, completion_tokens: 500 })
  const key = randomUUID()
  const leave = new AbortController()
  const body = { ...request, max_tokens: 500, stream: true }
  const first = await caller.post(C, body, { ...under(key), signal: leave.signal })
  const id = first.headers.get('x-request-id')!
  await first.body!.getReader().read()
  expect(await errorOf(await caller.post(C, body, under(key)))).toMatchObject({
    status: 409,
    code: 'idempotency_running',
  })
  leave.abort()
  await age(id)
  const again = await caller.post(C, body, under(key))
  expect(again.headers.get('x-should-retry')).toBe('false')
  const error = await errorOf(again)
  expect(error).toMatchObject({ status: 409, code: 'idempotency_lost' })
  expect(error.message).toContain(id)
  expect(await entriesOf(id)).toHaveLength(1)
})

test('a worker that dies in the middle costs one bill, and is not run again', async () => {
  const { db, node } = gateway
  const key = randomUUID()
  const first = await caller.post(C, request, under(key))
  const id = first.headers.get('x-request-id')!
  await first.text()
  // What a worker that died between the node's last byte and the keeping of the result leaves behind.
  await db.sql`update idempotent_requests set status = null, body = null where request_id = ${id}`
  expect(await errorOf(await caller.post(C, request, under(key)))).toMatchObject({ code: 'idempotency_running' })
  await age(id)
  const before = node.accepted.length
  expect(await errorOf(await caller.post(C, request, under(key)))).toMatchObject({ code: 'idempotency_lost' })
  expect(node.accepted.length).toBe(before)
})

test('a generation that no node ever reported is not run again once its reservation has expired', async () => {
  const key = randomUUID()
  const first = await caller.post(C, request, under(key))
  const id = first.headers.get('x-request-id')!
  await first.text()
  await age(id)
  await gateway.db.sql`update idempotent_requests set status = null, body = null where request_id = ${id}`
  await gateway.db.sql`update reservations set state = 'expired' where request_id = ${id}`
  expect(await errorOf(await caller.post(C, request, under(key)))).toMatchObject({ code: 'idempotency_lost' })
})

test('only the run that holds a key keeps its result, and what is kept is not given up', async () => {
  const idempotency = { endpoint: 'POST /admin/accounts', key_hash: 'ef'.repeat(32), fingerprint: 'cd'.repeat(32) }
  const request_id = randomUUID()
  const claim = { operator: true, idempotency, lease_ms: 30_000, results_by_id: true }
  await gateway.db.ask('claim_request', { ...claim, request_id })
  const result = { account_id: '0', idempotency, status: 201, content_type: 'text/plain', body: btoa('mine') }
  const keep = (id: string) => gateway.db.ask('keep_result', { ...result, request_id: id })
  expect(await keep(randomUUID())).toEqual([{ decision: 'superseded' }])
  expect(await keep(request_id)).toEqual([{ decision: 'kept' }])
  await gateway.db.ask('release_request', { account_id: '0', idempotency, request_id, forget: true })
  await gateway.db.ask('forget_requests', { count_max: 1000 })
  expect(await gateway.db.ask('claim_request', { ...claim, request_id: randomUUID() })).toMatchObject([
    { decision: 'kept', request_id },
  ])
  expect(await gateway.db.ask('read_result', { account_id: '0', idempotency, request_id })).toMatchObject([
    { decision: 'kept', body: btoa('mine') },
  ])
})

test('a request that is refused is not kept: the next one under its key may be right', async () => {
  const key = randomUUID()
  expect((await caller.post(C, { ...request, max_tokens: 0 }, under(key))).status).toBe(400)
  expect((await caller.post(C, { ...request, model: 'none' }, under(key))).status).toBe(404)
  expect((await caller.post(C, request, under(key))).status).toBe(200)
  const keys = randomUUID()
  expect((await caller.post('/v1/keys', { name: '' }, under(keys))).status).toBe(400)
  expect((await caller.post('/v1/keys', { name: 'k' }, under(keys))).status).toBe(201)
})

test.each([[''], ['k'.repeat(256)]])('an Idempotency-Key of %j is a 400 that names it', async (key) => {
  for (const [path, body] of [
    [C, request],
    ['/v1/keys', { name: 'k' }],
  ] as const)
    expect(await errorOf(await caller.post(path, body, under(key)))).toMatchObject({
      status: 400,
      param: 'Idempotency-Key',
    })
})

test('one of 255 characters is taken', async () => {
  expect((await caller.post(C, request, under('k'.repeat(255)))).status).toBe(200)
})

describe('a key that is made', () => {
  test('is made once and shown again whole; at rest it is nowhere', async () => {
    const key = randomUUID()
    const answers = []
    for (let i = 0; i < 3; i += 1)
      answers.push(await (await caller.post('/v1/keys', { name: 'once' }, under(key))).json())
    expect(answers[1]).toEqual(answers[0])
    expect(answers[2]).toEqual(answers[0])
    const { key: secret, id } = answers[0] as { key: string; id: string }
    expect((await fetch(`${gateway.url}/v1/balance`, { headers: { authorization: `Bearer ${secret}` } })).status).toBe(
      200,
    )
    const rows = await gateway.db
      .sql`select i::text || coalesce(encode(body, 'escape'), '') as text from idempotent_requests i`
    expect(rows.length).toBeGreaterThan(0)
    expect(rows.every(({ text }) => !text.includes(secret))).toBe(true)
    const count = await gateway.db.sql`select 1 from keys where account_id = ${caller.account_id} and name = 'once'`
    expect([count.length, id]).toEqual([1, expect.any(String)])
  })

  test('is made once by a hundred at once', async () => {
    const key = randomUUID()
    const answers = await Promise.all(
      Array.from({ length: 100 }, () => caller.post('/v1/keys', { name: 'crowd' }, under(key))),
    )
    expect(answers.every(({ status }) => status === 201 || status === 409)).toBe(true)
    const made = await gateway.db.sql`select 1 from keys where account_id = ${caller.account_id} and name = 'crowd'`
    expect(made).toHaveLength(1)
  })

  test('by a worker that died before it could say so is the same one when asked for again', async () => {
    const key = randomUUID()
    const first = (await (await caller.post('/v1/keys', { name: 'died' }, under(key))).json()) as {
      id: string
      key: string
    }
    await gateway.db.sql`
      update idempotent_requests set status = null, body = null, lease_until = clock_timestamp() + interval '1 minute'
      where account_id = ${caller.account_id} and endpoint = 'POST /v1/keys' and status is not null
        and created_at = (select max(created_at) from idempotent_requests)`
    const waiting = await caller.post('/v1/keys', { name: 'died' }, under(key))
    expect(await errorOf(waiting)).toMatchObject({ status: 409, code: 'idempotency_running' })
    await gateway.db
      .sql`update idempotent_requests set lease_until = clock_timestamp() where lease_until > clock_timestamp()`
    expect(await (await caller.post('/v1/keys', { name: 'died' }, under(key))).json()).toMatchObject({
      id: first.id,
      key: first.key,
    })
    expect(
      await gateway.db.sql`select 1 from keys where account_id = ${caller.account_id} and name = 'died'`,
    ).toHaveLength(1)
  })

  test('is shown again to the key that asked for it alone, and to none without the scope', async () => {
    const key = randomUUID()
    const wish = { name: 'secret', scopes: ['generate'] }
    const sibling = async (scopes: string[]) => {
      const made = await caller.post('/v1/keys', { name: 'sibling', scopes })
      return callerOf(gateway.url, { ...caller, api_key: ((await made.json()) as { key: string }).key })
    }
    const [maker, generates, makes] = [
      await sibling(['keys', 'generate']),
      await sibling(['generate']),
      await sibling(['keys']),
    ]
    const { key: secret } = (await (await maker.post('/v1/keys', wish, under(key))).json()) as { key: string }
    const refused = [await generates.post('/v1/keys', wish, under(key)), await makes.post('/v1/keys', wish, under(key))]
    expect(await errorOf(refused[0]!)).toMatchObject({ status: 403, code: 'missing_scope' })
    expect(await errorOf(refused[1]!)).toMatchObject({ status: 422, code: 'idempotency_mismatch' })
    expect(await (await maker.post('/v1/keys', wish, under(key))).json()).toMatchObject({ key: secret })
  })

  test('is another account’s own under the same Idempotency-Key', async () => {
    const key = randomUUID()
    const made = await gateway.admin('/admin/keys', {
      account_id: (await gateway.newCaller()).account_id,
      name: 'a',
      scopes: ['admin'],
    })
    const other = callerOf(gateway.url, {
      account_id: '',
      key_id: '',
      api_key: ((await made.json()) as { key: string }).key,
    })
    const [a, b] = [
      await caller.post('/v1/keys', { name: 'x' }, under(key)),
      await other.post('/v1/keys', { name: 'x' }, under(key)),
    ]
    expect([a.status, b.status]).toEqual([201, 201])
    expect(((await a.json()) as { key: string }).key).not.toBe(((await b.json()) as { key: string }).key)
  })
})

test('a claim whose answer was lost is asked for again and is the same claim; to another request it runs', async () => {
  const wish = { endpoint: 'POST /admin/accounts', key_hash: 'ab'.repeat(32), fingerprint: 'cd'.repeat(32) }
  const claim = (request_id: string) =>
    gateway.db.ask('claim_request', { operator: true, idempotency: wish, request_id, lease_ms: 30_000 })
  const request_id = randomUUID()
  for (let i = 0; i < 2; i += 1) expect(await claim(request_id)).toMatchObject([{ decision: 'claimed', request_id }])
  expect(await claim(randomUUID())).toEqual([{ decision: 'idempotency_running' }])
})

test('the operator opens an account once', async () => {
  const operator = callerOf(gateway.url, { api_key: gateway.admin_key, account_id: '', key_id: '' })
  const key = randomUUID()
  const ask = async () =>
    (await (await operator.post('/admin/accounts', { name: 'once' }, under(key))).json()) as { id: string }
  expect(await ask()).toEqual(await ask())
  expect((await operator.post('/admin/accounts', { name: 'twice' }, under(key))).status).toBe(422)
})

test('after a day it is forgotten, text and all', async () => {
  const key = randomUUID()
  const first = await caller.post(C, request, under(key))
  await first.text()
  await gateway.db
    .sql`update idempotent_requests set expires_at = clock_timestamp() where request_id = ${first.headers.get('x-request-id')}`
  await gateway.runScheduled()
  expect(
    await gateway.db.sql`select 1 from idempotent_requests where request_id = ${first.headers.get('x-request-id')}`,
  ).toEqual([])
  expect((await caller.post(C, request, under(key))).headers.get('idempotency-replayed')).toBeNull()
})

test('however much is due is gone after one run', async () => {
  const { account_id } = await gateway.newCaller()
  await gateway.db.sql`
    insert into idempotent_requests (account_id, endpoint, key_hash, fingerprint, request_id, expires_at)
    select ${account_id}, '/', sha256(i::text::bytea), sha256(''), gen_random_uuid(), clock_timestamp() from generate_series(1, 25000) as i`
  await gateway.runScheduled()
  expect(await gateway.db.sql`select count(*)::int from idempotent_requests where account_id = ${account_id}`).toEqual([
    { count: 0 },
  ])
})

test('beyond what an account may have kept a request runs, says that it is not kept, and is not run again', async () => {
  const other = await gateway.newCaller()
  await gateway.db.sql`insert into kept_results values (${other.account_id}, 100000000)`
  const key = randomUUID()
  const first = await other.post(C, request, under(key))
  expect([first.status, first.headers.get('idempotency-kept')]).toEqual([200, 'false'])
  await first.text()
  await age(first.headers.get('x-request-id')!)
  expect(await errorOf(await other.post(C, request, under(key)))).toMatchObject({
    status: 409,
    code: 'idempotency_lost',
  })
})

test('OpenAI’s client, asking again by itself, gets the one answer', async () => {
  gateway.node.options.chunk_ms = 1500
  const client = new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: caller.api_key, maxRetries: 5 })
  const before = gateway.node.accepted.length
  const options = { headers: { 'Idempotency-Key': randomUUID() } }
  const answers = await Promise.all(Array.from({ length: 3 }, () => client.completions.create(request, options)))
  expect(new Set(answers.map(({ id }) => id)).size).toBe(1)
  expect(gateway.node.accepted.length - before).toBe(1)
})
