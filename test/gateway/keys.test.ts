// Keys over HTTP: made by the operator and by keys, never more than their maker, shown once, rotated, revoked and given up.

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Caller, callerOf, errorOf, model, startTestGateway, type TestGateway } from '../support/gateway.ts'

let gateway: TestGateway
let owner: Caller // may do everything on its account

beforeAll(async () => {
  gateway = await startTestGateway()
  owner = await keyOf(await gateway.newCaller(), { scopes: ['admin'] })
})
afterAll(() => gateway?.stop())

interface Key {
  id: string
  key: string
  [field: string]: unknown
}

const completion = { model, prompt: 'x', max_tokens: 1 }

async function keyOf({ account_id }: Caller, own: object): Promise<Caller> {
  const made = await gateway.admin('/admin/keys', { account_id, name: 'k', ...own })
  return callerFrom(account_id, made)
}

async function callerFrom(account_id: string, made: Response): Promise<Caller> {
  const { id, key } = (await made.json()) as Key
  if (made.status !== 201) throw new Error(`no key was made: ${made.status}`)
  return callerOf(gateway.url, { account_id, key_id: id, api_key: key })
}

const child = async (maker: Caller, own: object) =>
  callerFrom(maker.account_id, await maker.post('/v1/keys', { name: 'child', ...own }))

const send = (caller: Caller, method: string, path: string, body?: object) =>
  caller.post(path, body ?? '', { method, ...(!body && { body: null }) })

test('a key is shown whole in the answer that made it, and never again', async () => {
  const wanted = { name: 'all of it', scopes: ['generate'], models: [model], tags: ['team-a'], requests_per_minute: 7 }
  const more = { tokens_per_minute: 900, requests_in_flight_max: 3, monthly_spend_cap_nanousd: '12345678901234567' }
  const made = await owner.post('/v1/keys', {
    ...wanted,
    ...more,
    allowed_ips: ['10.0.0.0/8', '1.2.3.4', '2001:DB8::1'],
  })
  const { key, id, ...shown } = (await made.json()) as Key
  expect(key).toMatch(/^zc_live_[0-9A-Za-z]{36}$/)
  expect(shown).toMatchObject({
    object: 'key',
    account_id: owner.account_id,
    ...wanted,
    ...more,
    last_four: key.slice(-4),
  })
  expect(shown.allowed_ips).toEqual(['10.0.0.0/8', '1.2.3.4/32', '2001:db8::1/128'])
  const again = await (await owner.get(`/v1/keys/${id}`)).text()
  expect(JSON.parse(again)).toEqual({ ...shown, id })
  expect(again).not.toContain(key)
  expect(await (await owner.get('/v1/keys')).text()).not.toContain(key)
})

test('keys are listed newest first, in pages, an account’s own alone', async () => {
  const caller = await keyOf(await gateway.newCaller(), { scopes: ['keys'] })
  const ids = [caller.key_id]
  for (let i = 0; i < 3; i += 1) ids.unshift((await child(caller, { scopes: ['keys'] })).key_id)
  const page = async (query: string) =>
    (await (await caller.get(`/v1/keys?${query}`)).json()) as { data: Key[]; has_more: boolean; last_id: string }
  const first = await page('limit=2')
  const second = await page(`limit=3&after=${first.last_id}`)
  expect([...first.data, ...second.data].map(({ id }) => id).slice(0, 4)).toEqual(ids)
  expect([first.has_more, second.has_more]).toEqual([true, false])
  const operators = await gateway.admin(`/admin/keys?account_id=${caller.account_id}`, undefined, 'GET')
  expect(((await operators.json()) as { data: Key[] }).data).toEqual([...first.data, ...second.data])
})

test.each(['limit=0', 'limit=x', 'after=x', 'after=-1', 'colour=1'])('a list asked with %s is a 400', async (query) => {
  expect(await errorOf(await owner.get(`/v1/keys?${query}`))).toMatchObject({ status: 400, param: query.split('=')[0] })
})

describe('a field that is refused', () => {
  test.each<[object, string]>([
    [{ name: '' }, 'name'],
    [{ name: 'a\0b' }, 'name'],
    [{ scopes: [] }, 'scopes'],
    [{ scopes: ['root'] }, 'scopes[0]'],
    [{ models: [] }, 'models'],
    [{ tags: ['\ud800'] }, 'tags[0]'],
    [{ allowed_ips: ['10.0.0.0/33'] }, 'allowed_ips[0]'],
    [{ allowed_ips: ['localhost'] }, 'allowed_ips[0]'],
    [{ allowed_ips: ['10.1/16'] }, 'allowed_ips[0]'],
    [{ allowed_ips: ['::ffff:1.2.3.4'] }, 'allowed_ips[0]'],
    [{ allowed_ips: ['10.1.2.3/8'] }, 'allowed_ips[0]'],
    [{ allowed_ips: [] }, 'allowed_ips'],
    [{ requests_per_minute: 0 }, 'requests_per_minute'],
    [{ tokens_per_minute: 1e11 }, 'tokens_per_minute'],
    [{ requests_in_flight_max: 1.5 }, 'requests_in_flight_max'],
    [{ monthly_spend_cap_nanousd: 5 }, 'monthly_spend_cap_nanousd'],
    [{ monthly_spend_cap_nanousd: '-1' }, 'monthly_spend_cap_nanousd'],
    [{ expires_at: 'tomorrow' }, 'expires_at'],
    [{ expires_at: '0000-01-01T00:00:00Z' }, 'expires_at'],
    [{ expires_at: `2030-01-01T00:00:00.${'0'.repeat(200)}Z` }, 'expires_at'],
    [{ expires_at: '9999-12-31T23:59:59-12:00' }, 'expires_at'],
    [{ account_id: '1' }, 'account_id'],
    [{ hash: '00' }, 'hash'],
  ])('%j', async (field, param) => {
    for (const [method, path] of [
      ['POST', '/v1/keys'],
      ['PATCH', `/v1/keys/${owner.key_id}`],
    ] as const) {
      const answer = await send(owner, method, path, { name: 'k', ...field })
      expect(await errorOf(answer)).toMatchObject({ status: 400, param })
    }
  })
})

describe('a key makes and changes keys', () => {
  const limits = {
    models: [model],
    allowed_ips: ['127.0.0.0/8'],
    requests_per_minute: 100,
    tokens_per_minute: 100_000,
    requests_in_flight_max: 10,
    monthly_spend_cap_nanousd: '1000000',
    expires_at: '2099-01-01T00:00:00.000Z',
  }
  const all = ['keys', 'generate', 'usage']

  test('that have what it has where nothing is said', async () => {
    const maker = await keyOf(owner, { scopes: ['keys', 'generate', 'usage'], ...limits })
    const made = await child(maker, {})
    expect(await (await owner.get(`/v1/keys/${made.key_id}`)).json()).toMatchObject(limits)
  })

  test.each<[string, unknown]>([
    ['scopes', ['admin']],
    ['scopes', ['generate', 'webhooks']],
    ['models', [model, 'Ziya-Coding-34B-v1.0']],
    ['models', null],
    ['allowed_ips', ['126.0.0.0/7']],
    ['allowed_ips', ['::/0']],
    ['allowed_ips', null],
    ['requests_per_minute', 101],
    ['requests_per_minute', null],
    ['tokens_per_minute', 100_001],
    ['tokens_per_minute', null],
    ['requests_in_flight_max', 11],
    ['monthly_spend_cap_nanousd', '1000001'],
    ['monthly_spend_cap_nanousd', null],
    ['expires_at', '2099-01-01T00:00:01Z'],
    ['expires_at', null],
  ])('but never with more: %s %j', async (param, value) => {
    const maker = await keyOf(owner, { scopes: ['keys', 'generate', 'usage'], ...limits })
    const refused = { status: 403, code: 'exceeds_own_key', param }
    expect(await errorOf(await maker.post('/v1/keys', { name: 'k', [param]: value }))).toMatchObject(refused)
    const made = await child(maker, {})
    expect(await errorOf(await send(maker, 'PATCH', `/v1/keys/${made.key_id}`, { [param]: value }))).toMatchObject(
      refused,
    )
    expect(await errorOf(await send(maker, 'PATCH', `/v1/keys/${maker.key_id}`, { [param]: value }))).toMatchObject(
      refused,
    )
  })

  test('but none that has more already: not its limits, not its secret', async () => {
    const maker = await keyOf(owner, { scopes: ['keys'] })
    const refused = { status: 403, code: 'exceeds_own_key', param: 'scopes' }
    expect(await errorOf(await send(maker, 'PATCH', `/v1/keys/${owner.key_id}`, { name: 'mine' }))).toMatchObject(
      refused,
    )
    expect(await errorOf(await maker.post(`/v1/keys/${owner.key_id}/rotate`, {}))).toMatchObject(refused)
  })

  test('that together use what it may, however many they are', async () => {
    const capped = await keyOf(owner, { scopes: ['keys', 'generate', 'usage'], monthly_spend_cap_nanousd: '100' })
    const made = await child(capped, { scopes: all })
    const grandchild = await child(made, { monthly_spend_cap_nanousd: '100' })
    await gateway.db
      .sql`update meters set month = ledger.this_month(), charged_nanousd = 100 where key_id = ${capped.key_id}`
    for (const key of [made, grandchild])
      expect(await errorOf(await key.post('/v1/completions', completion))).toMatchObject({ code: 'spend_cap_reached' })
    const slow = await keyOf(owner, { scopes: ['keys', 'generate', 'usage'], requests_per_minute: 1 })
    const second = await child(slow, {})
    expect((await slow.post('/v1/completions', completion)).status).toBe(200)
    expect(await errorOf(await second.post('/v1/completions', completion))).toMatchObject({
      status: 429,
      code: 'rate_limit_exceeded',
    })
  })

  test.each([
    ['requests_per_minute', 99],
    ['tokens_per_minute', 99_999],
    ['requests_in_flight_max', 9],
    ['monthly_spend_cap_nanousd', '999999'],
  ])('whose limits are its own, never others on the same meter: %s', async (param, value) => {
    const maker = await keyOf(owner, { scopes: all, ...limits })
    const answer = await maker.post('/v1/keys', { name: 'k', [param]: value })
    expect(await errorOf(answer)).toMatchObject({ status: 400, code: 'limits_are_shared', param })
    const capped = await keyOf(owner, { scopes: all, monthly_spend_cap_nanousd: '1000000' })
    if (param !== 'monthly_spend_cap_nanousd')
      expect((await capped.post('/v1/keys', { name: 'k', [param]: value })).status).toBe(400)
  })

  test('a limit that is changed on one of them is changed on all', async () => {
    const maker = await keyOf(owner, { scopes: all, ...limits })
    const made = await child(maker, {})
    const apart = await keyOf(owner, { scopes: all, ...limits })
    const less = { requests_per_minute: 7, monthly_spend_cap_nanousd: null }
    await send(owner, 'PATCH', `/v1/keys/${maker.key_id}`, { name: 'renamed', ...less })
    const shown = async ({ key_id }: Caller) => (await owner.get(`/v1/keys/${key_id}`)).json()
    expect(await shown(made)).toMatchObject({ name: 'child', ...limits, ...less, metered_as: maker.key_id })
    await send(owner, 'PATCH', `/v1/keys/${made.key_id}`, { tokens_per_minute: 70 })
    expect(await shown(maker)).toMatchObject({ name: 'renamed', ...limits, ...less, tokens_per_minute: 70 })
    expect(await shown(apart)).toMatchObject({ ...limits, metered_as: apart.key_id })
  })

  test('and with limits takes over none that counts on another meter', async () => {
    const [maker, sibling] = [await keyOf(owner, { scopes: all, ...limits }), await keyOf(owner, { ...limits })]
    const refused = await maker.post(`/v1/keys/${sibling.key_id}/rotate`, {})
    expect(await errorOf(refused)).toMatchObject({
      status: 403,
      code: 'exceeds_own_key',
      param: 'requests_per_minute',
    })
    const made = await child(maker, {})
    for (const key of [made, maker])
      expect((await maker.post(`/v1/keys/${key.key_id}/rotate`, { overlap_s: 60 })).status).toBe(201)
    const unlimited = await keyOf(owner, { scopes: ['admin'] })
    expect((await unlimited.post(`/v1/keys/${sibling.key_id}/rotate`, {})).status).toBe(201)
  })

  test('only with the scope for it', async () => {
    const reader = await keyOf(owner, { scopes: ['generate', 'usage', 'webhooks'] })
    expect(await errorOf(await reader.get('/v1/keys'))).toMatchObject({ status: 403, code: 'missing_scope' })
    expect(await errorOf(await reader.post('/v1/keys', { name: 'k' }))).toMatchObject({
      status: 403,
      code: 'missing_scope',
    })
  })

  test('at most a thousand of an account', async () => {
    const crowded = await keyOf(await gateway.newCaller(), { scopes: ['admin'] })
    await gateway.db.sql`
      insert into keys (account_id, name, hash, prefix, last_four, scopes)
      select ${crowded.account_id}, 'k', sha256(('crowd' || i)::bytea), 'p', 'l', '{usage}' from generate_series(1, 998) as i`
    const answers = [await crowded.post('/v1/keys', { name: 'k' })]
    expect(await errorOf(answers[0]!)).toMatchObject({ status: 400, code: 'too_many_keys' })
  })
})

test('what is changed holds for the next request', async () => {
  const caller = await child(owner, { scopes: ['generate', 'keys'] })
  expect((await caller.post('/v1/completions', completion)).status).toBe(200)
  const changed = await send(owner, 'PATCH', `/v1/keys/${caller.key_id}`, {
    models: ['other'],
    name: 'new name',
    tags: ['b'],
  })
  expect(await changed.json()).toMatchObject({
    models: ['other'],
    name: 'new name',
    tags: ['b'],
    scopes: ['generate', 'keys'],
  })
  expect(await errorOf(await caller.post('/v1/completions', completion))).toMatchObject({ code: 'model_not_allowed' })
})

describe('a key bound to addresses', () => {
  const statusFrom = async (allowed_ips: string[]) =>
    (await (await child(owner, { allowed_ips })).post('/v1/completions', completion)).status

  test('is taken from there, and from nowhere else', async () => {
    const from_here = [['127.0.0.1'], ['127.0.0.0/8'], ['2001:db8::/32', '0.0.0.0/0']]
    for (const ranges of from_here) expect([ranges, await statusFrom(ranges)]).toEqual([ranges, 200])
    for (const ranges of [['127.0.0.2'], ['10.0.0.0/8'], ['::1'], ['::/0']])
      expect([ranges, await statusFrom(ranges)]).toEqual([ranges, 403])
  })

  test('reads the balance and what was used from there, and from nowhere else', async () => {
    for (const [range, status] of [
      ['127.0.0.1', 200],
      ['127.0.0.2', 403],
    ] as const) {
      const bound = await child(owner, { scopes: ['usage'], allowed_ips: [range] })
      for (const path of ['/v1/balance', '/v1/usage', '/v1/usage?group_by=key'])
        expect([range, path, (await bound.get(path)).status]).toEqual([range, path, status])
    }
  })

  test('cannot be used from elsewhere by a header that a client wrote', async () => {
    const bound = await child(owner, { allowed_ips: ['10.0.0.0/8'] })
    const headers = { 'cf-connecting-ip': '10.0.0.1', 'x-forwarded-for': '10.0.0.1', 'x-real-ip': '10.0.0.1' }
    const answer = await bound.post('/v1/completions', completion, { headers })
    expect(await errorOf(answer)).toMatchObject({ status: 403, code: 'address_not_allowed' })
  })
})

describe('a key that is rotated', () => {
  const rotated = async (caller: Caller, body: object) =>
    callerFrom(caller.account_id, await owner.post(`/v1/keys/${caller.key_id}/rotate`, body))

  test('is replaced by one that may the same, and ends at once', async () => {
    const old = await child(owner, { name: 'r', scopes: ['usage'], tags: ['t'], requests_per_minute: 9 })
    const next = await rotated(old, {})
    const shown = (await (await owner.get(`/v1/keys/${next.key_id}`)).json()) as Key
    expect(shown).toMatchObject({
      name: 'r',
      scopes: ['usage'],
      tags: ['t'],
      requests_per_minute: 9,
      rotated_from: old.key_id,
    })
    expect((await next.get('/v1/balance')).status).toBe(200)
    expect(await errorOf(await old.get('/v1/balance'))).toMatchObject({ status: 401, code: 'invalid_api_key' })
    expect(await errorOf(await owner.post(`/v1/keys/${old.key_id}/rotate`, {}))).toMatchObject({
      code: 'already_revoked',
    })
  })

  test('works on for the overlap, and not longer than it would have', async () => {
    const old = await child(owner, { scopes: ['usage'] })
    await rotated(old, { overlap_s: 3600 })
    expect((await old.get('/v1/balance')).status).toBe(200)
    const { expires_at } = (await (await owner.get(`/v1/keys/${old.key_id}`)).json()) as { expires_at: string }
    const left_s = (Date.parse(expires_at) - Date.now()) / 1000
    expect(left_s).toBeGreaterThan(3500)
    expect(left_s).toBeLessThanOrEqual(3600)
    const brief = await child(owner, { expires_at: '2027-01-01T00:00:00.000Z' })
    await rotated(brief, { overlap_s: 86_400 * 30 })
    await gateway.db.sql`update keys set expires_at = clock_timestamp() - interval '1 second' where id = ${old.key_id}`
    expect((await old.get('/v1/balance')).status).toBe(401)
  })

  test('goes on with what it has spent this month', async () => {
    const old = await child(owner, { scopes: ['generate'], monthly_spend_cap_nanousd: '100' })
    await gateway.db
      .sql`update meters set month = ledger.this_month(), charged_nanousd = 100 where key_id = ${old.key_id}`
    const next = await rotated(old, { overlap_s: 60 })
    const shown = (await (await owner.get(`/v1/keys/${next.key_id}`)).json()) as Key
    expect(shown.charged_this_month_nanousd).toBe('100')
    const twice = await rotated(next, {})
    expect(((await (await owner.get(`/v1/keys/${twice.key_id}`)).json()) as Key).charged_this_month_nanousd).toBe('100')
  })

  test.each([{ overlap_s: -1 }, { overlap_s: 1e9 }, { overlap_s: '5' }])('not with %j', async (body) => {
    const answer = await owner.post(`/v1/keys/${owner.key_id}/rotate`, body)
    expect(await errorOf(answer)).toMatchObject({ status: 400, param: 'overlap_s' })
  })
})

describe('a key as `admin keys create` makes it', () => {
  const ordinary = async () => keyOf(await gateway.newCaller(), {})
  const keyIn = async (answer: Response) => (await answer.json()) as Key

  test('sees itself, by its id and as self', async () => {
    const caller = await ordinary()
    const shown = await keyIn(await caller.get('/v1/keys/self'))
    expect(shown).toMatchObject({ id: caller.key_id, scopes: ['generate', 'usage'] })
    expect(await keyIn(await caller.get(`/v1/keys/${caller.key_id}`))).toEqual(shown)
  })

  test.each(['self', 'its id'])('rotates itself by %s: what replaces it may the same, and it ends', async (by) => {
    const old = await ordinary()
    const path = `/v1/keys/${by === 'self' ? by : old.key_id}/rotate`
    const next = await callerFrom(old.account_id, await old.post(path, {}))
    expect(await keyIn(await next.get('/v1/keys/self'))).toMatchObject({
      id: next.key_id,
      rotated_from: old.key_id,
      scopes: ['generate', 'usage'],
    })
    expect((await next.get('/v1/balance')).status).toBe(200)
    expect((await old.get('/v1/balance')).status).toBe(401)
  })

  test('rotates itself once for an Idempotency-Key', async () => {
    const old = await ordinary()
    const rotate = () =>
      old.post('/v1/keys/self/rotate', { overlap_s: 60 }, { headers: { 'idempotency-key': 'rotation' } })
    const first = await keyIn(await rotate())
    expect(await keyIn(await rotate())).toEqual(first)
  })

  test('makes no more than one key of itself at a time', async () => {
    const old = await ordinary()
    const next = await callerFrom(old.account_id, await old.post('/v1/keys/self/rotate', { overlap_s: 60 }))
    for (const caller of [old, next])
      expect(await errorOf(await caller.post('/v1/keys/self/rotate', { overlap_s: 60 }))).toMatchObject({
        status: 400,
        code: 'rotation_running',
      })
    await gateway.db.sql`update keys set expires_at = clock_timestamp() where id = ${old.key_id}`
    expect((await next.post('/v1/keys/self/rotate', {})).status).toBe(201)
  })

  test.each<[string, string, object?]>([
    ['GET', '/v1/keys'],
    ['POST', '/v1/keys', { name: 'k', scopes: ['generate'] }],
    ['PATCH', '/v1/keys/self', { name: 'renamed' }],
    ['DELETE', '/v1/keys/self'],
  ])('may nothing else: %s %s', async (method, path, body) => {
    expect(await errorOf(await send(await ordinary(), method, path, body))).toMatchObject({ status: 403 })
  })

  test('neither sees nor rotates another of its account', async () => {
    const caller = await ordinary()
    const other = await keyOf(caller, {})
    for (const answer of [
      await caller.get(`/v1/keys/${other.key_id}`),
      await caller.post(`/v1/keys/${other.key_id}/rotate`, {}),
    ])
      expect(await errorOf(answer)).toMatchObject({ status: 403, code: 'missing_scope' })
    expect((await other.get('/v1/balance')).status).toBe(200)
  })

  test('is told which scope it lacks, and which it has', async () => {
    const { message } = await errorOf(await (await ordinary()).get('/v1/keys'))
    expect(message).toBe('This needs a key with the scope keys. This one has generate, usage.')
  })
})

test('the operator has no key of its own', async () => {
  expect((await gateway.admin('/admin/keys/self', undefined, 'GET')).status).toBe(404)
})

describe('a key that is revoked', () => {
  test('by its account is refused from the next request on, and stays', async () => {
    const caller = await child(owner, {})
    expect((await caller.get('/v1/balance')).status).toBe(200)
    const revoked = (await (await send(owner, 'DELETE', `/v1/keys/${caller.key_id}`)).json()) as Key
    expect(revoked.revoked_at).toMatch(/^20\d\d-.*Z$/)
    expect((await caller.get('/v1/balance')).status).toBe(401)
    expect(await (await send(owner, 'DELETE', `/v1/keys/${caller.key_id}`)).json()).toEqual(revoked)
    const changed = await send(owner, 'PATCH', `/v1/keys/${caller.key_id}`, { name: 'x' })
    expect(await errorOf(changed)).toMatchObject({ status: 400, code: 'already_revoked' })
  })

  test('by whoever found it, with nothing but the key, and its owner is told once', async () => {
    const found = await child(owner, {
      scopes: ['webhooks'],
      allowed_ips: ['10.0.0.0/8'],
      expires_at: '2020-01-01T00:00:00Z',
    })
    const leak = () =>
      fetch(`${gateway.url}/v1/keys/leak`, { method: 'POST', headers: { authorization: `Bearer ${found.api_key}` } })
    const first = await leak()
    expect(first.status).toBe(200)
    const answer = (await first.json()) as Key
    expect(answer).toMatchObject({ object: 'key', id: found.key_id, revoked_at: expect.any(String) })
    expect(await (await leak()).json()).toEqual(answer)
    const told = await gateway.db
      .sql`select body from outbox where type = 'key.leaked' and body::jsonb -> 'data' ->> 'id' = ${found.key_id}`
    expect(told).toHaveLength(1)
    expect(JSON.stringify(told)).not.toContain(found.api_key)
  })
})

describe('the operator', () => {
  const admin = async (method: string, path: string, body?: object) => gateway.admin(path, body, method)

  test('opens, shows, changes and lists accounts', async () => {
    const limits = {
      requests_per_minute: 60,
      tokens_per_minute: 1e6,
      requests_in_flight_max: 5,
      monthly_spend_cap_nanousd: '7',
    }
    const made = await admin('POST', '/admin/accounts', { name: 'acme', overdraft_nanousd: '5', ...limits })
    expect(made.status).toBe(201)
    const account = (await made.json()) as Key
    expect(account).toMatchObject({
      object: 'account',
      name: 'acme',
      overdraft_nanousd: '5',
      available_nanousd: '5',
      ...limits,
    })
    expect(await (await admin('GET', `/admin/accounts/${account.id}`)).json()).toEqual(account)
    const changed = await admin('PATCH', `/admin/accounts/${account.id}`, {
      overdraft_nanousd: '0',
      requests_per_minute: null,
    })
    expect(await changed.json()).toMatchObject({
      name: 'acme',
      overdraft_nanousd: '0',
      requests_per_minute: null,
      tokens_per_minute: 1e6,
    })
    const { data } = (await (await admin('GET', '/admin/accounts?limit=1')).json()) as { data: Key[] }
    expect(data.map(({ id }) => id)).toEqual([account.id])
    const older = (await (await admin('GET', `/admin/accounts?limit=1&after=${account.id}`)).json()) as { data: Key[] }
    expect(BigInt(older.data[0]!.id)).toBeLessThan(BigInt(account.id))
  })

  test('cannot take back an overdraft that is in use', async () => {
    const account = (await (
      await admin('POST', '/admin/accounts', { name: 'o', overdraft_nanousd: '900' })
    ).json()) as Key
    await gateway.db.sql`update accounts set pending_nanousd = 500 where id = ${account.id}`
    const path = `/admin/accounts/${account.id}`
    expect(await errorOf(await admin('PATCH', path, { overdraft_nanousd: '499' }))).toMatchObject({
      status: 400,
      code: 'overdraft_in_use',
    })
    expect((await admin('PATCH', path, { overdraft_nanousd: '500' })).status).toBe(200)
    expect((await admin('PATCH', path, { overdraft_nanousd: String(2n ** 62n) })).status).toBe(200)
    const beyond = { overdraft_nanousd: String(2n ** 62n + 1n) }
    expect(await errorOf(await admin('PATCH', path, beyond))).toMatchObject({ status: 400, param: 'overdraft_nanousd' })
  })

  test('is answered 404 for what does not exist', async () => {
    for (const path of ['/admin/accounts/999999', '/admin/accounts/x', '/admin/keys/999999', '/admin/keys/x'])
      for (const method of ['GET', 'PATCH'])
        expect(await errorOf(await admin(method, path, method === 'PATCH' ? {} : undefined))).toMatchObject({
          status: 404,
        })
    const made = await admin('POST', '/admin/keys', { account_id: '999999', name: 'k' })
    expect(await errorOf(made)).toMatchObject({ status: 404, param: 'account_id' })
  })

  test('is nobody else: no key of an account opens /admin, whatever its scopes', async () => {
    for (const path of [
      '/admin/accounts',
      `/admin/accounts/${owner.account_id}`,
      `/admin/keys?account_id=${owner.account_id}`,
    ])
      expect(await errorOf(await owner.get(path))).toMatchObject({ status: 401, code: 'invalid_api_key' })
  })
})

test('an account reads itself', async () => {
  expect(await (await owner.get('/v1/account')).json()).toMatchObject({
    object: 'account',
    id: owner.account_id,
    name: 'caller',
  })
})
