// Webhooks: managed by OpenAI's own client, sent to a real receiver, verified by every library that customers use.

import { createPublicKey, verify } from 'node:crypto'
import OpenAI from 'openai'
import { Webhook } from 'standardwebhooks'
import { Webhook as SvixWebhook } from 'svix'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { startGateway } from '../../local/gateway.ts'
import {
  admin_key,
  bundledOnce,
  type Caller,
  callerOf,
  errorOf,
  PATIENT,
  startTestGateway,
  type TestGateway,
} from '../support/gateway.ts'
import { TICKET_SEED } from '../support/keys.ts'
import { makeClockMovable, moveClock } from '../support/movable-clock.ts'
import { eventually } from '../support/patience.ts'
import { type Receiver, startReceiver } from '../support/receiver.ts'

let gateway: TestGateway
let receiver: Receiver

beforeAll(async () => {
  receiver = await startReceiver()
  const email = { EMAIL_PROVIDER: 'postmark', EMAIL_API_KEY: 'mail-key', EMAIL_FROM: 'billing@example.com' }
  const vars = {
    WEBHOOK_ALLOWED_RANGES: '127.0.0.1/32',
    WEBHOOK_WATCH_MS: '1',
    EMAIL_API_URL: `${receiver.url}/mail`,
    ...email,
  }
  gateway = await startTestGateway(vars, makeClockMovable)
})
afterAll(async () => {
  await gateway?.stop()
  await receiver?.stop()
})
afterEach(() => {
  receiver.behaviour = (_, response) => void response.end('ok')
})

/** A caller whose key may do anything, and OpenAI's client with it. */
async function newClient(): Promise<{ caller: Caller; client: OpenAI }> {
  const { account_id } = await gateway.newCaller('0')
  const made = await gateway.admin('/admin/keys', { account_id, name: 'hooks', scopes: ['admin'] })
  const { id, key } = (await made.json()) as { id: string; key: string }
  const caller = callerOf(gateway.url, { api_key: key, account_id, key_id: id })
  return { caller, client: new OpenAI({ apiKey: key, baseURL: `${gateway.url}/v1`, maxRetries: 0 }) }
}

/** Waits until so many have come. */
async function came(list: () => unknown[], count: number): Promise<void> {
  await eventually(async () => (list().length >= count ? true : null))
}

// Our types are not OpenAI's, whose client passes on whatever it is given.
type Types = OpenAI.Webhooks.WebhookCreateParams['event_types']
const types = (...names: string[]) => names as Types

describe('by the client of OpenAI', () => {
  test('an endpoint is made, tested, told of an event that the client unwraps, and rotated', async () => {
    const { client, caller } = await newClient()
    const url = `${receiver.url}/whole-way`
    const { signing_secret, ...made } = await client.webhooks.create({
      name: 'mine',
      url,
      event_types: types('key.created'),
    })
    expect(made).toMatchObject({ object: 'webhook_endpoint', name: 'mine', url, event_types: ['key.created'] })
    expect(await client.webhooks.retrieve(made.id)).toEqual(made)

    const mine = () => receiver.received.filter(({ path }) => path === '/whole-way')
    const tested = await client.webhooks.test(made.id, { event_type: types('key.created')[0]! })
    expect(tested).toMatchObject({
      webhook_endpoint_id: made.id,
      event_type: 'key.created',
      status_code: 200,
      success: true,
    })
    await client.webhooks.unwrap(mine()[0]!.body, mine()[0]!.headers, signing_secret)

    const answer = await caller.post('/v1/keys', { name: 'told of' })
    const { id: key_id } = (await answer.json()) as { id: string }
    await came(mine, 2)
    const sent = mine()[1]!
    const event = await client.webhooks.unwrap(sent.body, sent.headers, signing_secret)
    expect(event).toMatchObject({
      object: 'event',
      id: sent.id,
      type: 'key.created',
      data: { id: key_id, name: 'told of' },
    })
    expect(new Webhook(signing_secret).verify(sent.body, sent.headers)).toEqual(event)
    new SvixWebhook(signing_secret).verify(sent.body, sent.headers) // throws where it does not verify

    const rotated = await client.webhooks.rotateSecret(made.id)
    expect(rotated.signing_secret).not.toBe(signing_secret)
    await caller.post('/v1/keys', { name: 'told of' })
    await came(mine, 3)
    const after = mine()[2]!
    await client.webhooks.unwrap(after.body, after.headers, rotated.signing_secret)
    await expect(client.webhooks.unwrap(after.body, after.headers, signing_secret)).rejects.toThrow()
  })
})

interface Endpoint {
  id: string
  signing_secret: string
  public_key: string
  status: string
  disabled_reason: string | null
}

interface Delivery {
  id: string
  state: string
  event: { id: string; type: string }
  attempts: { status: number | null; error: string | null }[]
  answer: string | null
}

const jsonOf = async <T>(answer: Promise<Response>): Promise<T> => (await (await answer).json()) as T

async function newEndpoint(caller: Caller, path: string, more: object = {}): Promise<Endpoint> {
  const body = { name: path, url: receiver.url + path, event_types: ['key.created'], ...more }
  return jsonOf<Endpoint>(caller.post('/v1/webhook_endpoints', body))
}

const at = (path: string) => receiver.received.filter((received) => received.path === path)
const deliveriesOf = (caller: Caller, { id }: Endpoint, query = '') =>
  jsonOf<{ data: Delivery[] }>(caller.get(`/v1/webhook_endpoints/${id}/deliveries${query}`)).then(({ data }) => data)

describe('an endpoint', () => {
  test('is listed, changed and deleted by the client, and is nobody else’s', async () => {
    const { client } = await newClient()
    const stranger = await newClient()
    const made: { id: string }[] = []
    for (const name of ['a', 'b', 'c'])
      made.unshift(
        await client.webhooks.create({ name, url: `${receiver.url}/${name}`, event_types: types('key.created') }),
      )
    const listed = []
    for await (const endpoint of client.webhooks.list({ limit: 2 })) listed.push(endpoint.id)
    expect(listed).toEqual(made.map(({ id }) => id))
    const changed = await client.webhooks.update(made[0]!.id, { name: 'changed' })
    expect(changed).toMatchObject({ name: 'changed', url: `${receiver.url}/c`, event_types: ['key.created'] })
    for (const ask of [
      () => stranger.client.webhooks.retrieve(made[0]!.id),
      () => stranger.client.webhooks.update(made[0]!.id, { name: 'mine' }),
      () => stranger.client.webhooks.delete(made[0]!.id),
      () => stranger.client.webhooks.rotateSecret(made[0]!.id),
      () => stranger.client.webhooks.test(made[0]!.id, { event_type: types('key.created')[0]! }),
    ])
      await expect(ask()).rejects.toMatchObject({ status: 404 })
    expect(await client.webhooks.delete(made[0]!.id)).toEqual({
      object: 'webhook_endpoint.deleted',
      id: made[0]!.id,
      deleted: true,
    })
    await expect(client.webhooks.retrieve(made[0]!.id)).rejects.toMatchObject({ status: 404 })
    expect((await client.webhooks.eventTypes.list()).data).toContain('balance.low')
  })

  test('needs the scope `webhooks`, known types, and room in its account', async () => {
    const { caller } = await newClient()
    const other = await gateway.newCaller('0')
    const body = { name: 'x', url: `${receiver.url}/x`, event_types: ['key.created'] }
    expect(await errorOf(await other.post('/v1/webhook_endpoints', body))).toMatchObject({
      status: 403,
      code: 'missing_scope',
    })
    for (const [field, value] of Object.entries({
      event_types: ['fine_tuning.job.failed'],
      name: '',
      url: 7,
      secret: 'x',
    }))
      expect(await errorOf(await caller.post('/v1/webhook_endpoints', { ...body, [field]: value }))).toMatchObject({
        status: 400,
      })
    for (let i = 0; i < 20; i += 1) expect((await caller.post('/v1/webhook_endpoints', body)).status).toBe(200)
    expect(await errorOf(await caller.post('/v1/webhook_endpoints', body))).toMatchObject({
      code: 'too_many_webhook_endpoints',
    })
  })

  test('that cannot be reached is an error of its test', async () => {
    const { caller } = await newClient()
    const { id } = await newEndpoint(caller, '/unreached')
    receiver.behaviour = (_, __, request) => void request.socket.resetAndDestroy()
    const answer = await caller.post(`/v1/webhook_endpoints/${id}/test`, { event_type: 'key.created' })
    expect(await errorOf(answer)).toMatchObject({ status: 400, code: 'webhook_unreachable' })
  })

  test('with an ed25519 secret is signed for by what its owner can only verify', async () => {
    const { caller } = await newClient()
    const { signing_secret, public_key } = await newEndpoint(caller, '/ed25519', { secret_type: 'ed25519' })
    expect([signing_secret, public_key.slice(0, 5)]).toEqual([public_key, 'whpk_'])
    await caller.post('/v1/keys', { name: 'x' })
    await came(() => at('/ed25519'), 1)
    const { headers, body } = at('/ed25519')[0]!
    const [version, signature] = headers['webhook-signature']!.split(',')
    const x = Buffer.from(public_key.slice(5), 'base64').toString('base64url')
    const key = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' })
    const signed = Buffer.from(`${headers['webhook-id']}.${headers['webhook-timestamp']}.${body}`)
    expect([version, verify(null, signed, key, Buffer.from(signature!, 'base64'))]).toEqual(['v1a', true])
  })

  test('is signed for with both secrets while one replaces the other, and then with the new one', async () => {
    const { caller } = await newClient()
    const old = await newEndpoint(caller, '/rotated')
    const path = `/v1/webhook_endpoints/${old.id}/rotate_secret`
    const fresh = await jsonOf<Endpoint>(caller.post(path, { keep_old_secret_active_for_24_hours: true }))
    await caller.post('/v1/keys', { name: 'x' })
    await came(() => at('/rotated'), 1)
    const both = at('/rotated')[0]!
    for (const secret of [old.signing_secret, fresh.signing_secret]) new Webhook(secret).verify(both.body, both.headers)
    await moveClock(gateway.db.sql, '25 hours')
    await caller.post('/v1/keys', { name: 'x' })
    await came(() => at('/rotated'), 2)
    const later = at('/rotated')[1]!
    new Webhook(fresh.signing_secret).verify(later.body, later.headers)
    expect(() => new Webhook(old.signing_secret).verify(later.body, later.headers)).toThrow()
  })

  test('is made once for an Idempotency-Key, with one secret, which is at rest nowhere', async () => {
    const { caller } = await newClient()
    const body = { name: 'once', url: `${receiver.url}/once`, event_types: ['key.created'] }
    const once = { headers: { 'idempotency-key': 'once' } }
    const made = [
      await jsonOf(caller.post('/v1/webhook_endpoints', body, once)),
      await jsonOf(caller.post('/v1/webhook_endpoints', body, once)),
    ]
    expect(made[0]).toEqual(made[1])
    const [row] = await gateway.db
      .sql`select webhook_endpoints::text as kept from webhook_endpoints order by id desc limit 1`
    const { signing_secret } = made[0] as Endpoint
    expect(row!.kept).not.toContain(signing_secret.slice(6))
    expect(row!.kept).not.toContain(Buffer.from(signing_secret.slice(6), 'base64').toString('hex'))
    expect(row!.kept).not.toContain(Buffer.from(signing_secret).toString('hex'))
  })
})

describe('a delivery', () => {
  test('that fails is listed with what was answered, resent, and recovered', async () => {
    const { caller } = await newClient()
    const endpoint = await newEndpoint(caller, '/failing')
    receiver.behaviour = (_, response) => void response.writeHead(500).end('not now\0')
    await caller.post('/v1/keys', { name: 'x' })
    const failed = await eventually(async () => {
      const [delivery] = await deliveriesOf(caller, endpoint, '?state=pending')
      return delivery?.attempts.length ? delivery : null
    }).then(({ value }) => value)
    expect(failed).toMatchObject({
      state: 'pending',
      answer: 'not now\uFFFD',
      attempts: [{ status: 500, error: null }],
    })
    receiver.behaviour = (_, response) => void response.end('thanks')
    const path = `/v1/webhook_endpoints/${endpoint.id}`
    expect((await caller.post(`${path}/deliveries/${failed.id}/resend`, {})).status).toBe(200)
    const delivered = await eventually(
      async () => (await deliveriesOf(caller, endpoint, '?state=delivered'))[0] ?? null,
    )
    expect(delivered.value).toMatchObject({ id: failed.id, event: failed.event, answer: 'thanks' })
    expect(new Set(at('/failing').map(({ id }) => id))).toEqual(new Set([failed.event.id]))

    await caller.post(path, { status: 'disabled' })
    await caller.post('/v1/keys', { name: 'missed' })
    expect(await errorOf(await caller.post(`${path}/recover`, { since: 0 }))).toMatchObject({
      code: 'webhook_endpoint_disabled',
    })
    expect(await jsonOf(caller.post(path, { status: 'enabled' }))).toMatchObject({
      status: 'enabled',
      disabled_reason: null,
    })
    // The keys of the account that were made before the endpoint was are missed, too.
    const recovered = await jsonOf<{ deliveries: number }>(caller.post(`${path}/recover`, { since: 0 }))
    expect(recovered).toMatchObject({ has_more: false })
    await came(() => [...new Set(at('/failing').map(({ id }) => id))], 1 + recovered.deliveries)
    expect(await jsonOf(caller.post(`${path}/recover`, { since: 0 }))).toMatchObject({ deliveries: 0 })
  })

  test('by a gateway that is killed meanwhile is sent again by another, under the same id', async () => {
    const db_gateway = await startTestGateway(
      { WEBHOOK_ALLOWED_RANGES: '127.0.0.1/32', WEBHOOK_WATCH_MS: '1' },
      makeClockMovable,
    )
    const { account_id } = await db_gateway.newCaller('0')
    const key = await jsonOf<{ id: string; key: string }>(
      db_gateway.admin('/admin/keys', { account_id, name: 'x', scopes: ['admin'] }),
    )
    const caller = callerOf(db_gateway.url, { api_key: key.key, account_id, key_id: key.id })
    await newEndpoint(caller, '/killed')
    receiver.behaviour = () => {} // held until the gateway is gone
    await caller.post('/v1/keys', { name: 'x' })
    await came(() => at('/killed'), 1)
    process.kill(db_gateway.pid, 'SIGKILL')
    receiver.behaviour = (_, response) => void response.end('ok')
    const other = await startGatewayOn(db_gateway)
    await other.runScheduled()
    expect(at('/killed')).toHaveLength(1) // the lease of the one that died still holds
    await moveClock(db_gateway.db.sql, '46 seconds')
    await other.runScheduled()
    expect(at('/killed').map(({ id, body }) => id + body)).toEqual(
      Array(2).fill(at('/killed')[0]!.id + at('/killed')[0]!.body),
    )
    const [row] = await db_gateway.db.sql`select state, tries from webhook_deliveries`
    expect(row).toEqual({ state: 'delivered', tries: 1 })
    await other.stop()
    await db_gateway.stop()
  })
})

describe('events', () => {
  test('are listed for who would rather ask, by type, in either order, for 30 days', async () => {
    const { caller } = await newClient()
    for (const name of ['a', 'b', 'c']) await caller.post('/v1/keys', { name })
    const list = (query: string) =>
      jsonOf<{ data: { id: string; type: string; data: { name: string } }[]; has_more: boolean }>(
        caller.get(`/v1/events${query}`),
      )
    const { data } = await list('?type=key.created&limit=3')
    expect(data.map((event) => event.data.name)).toEqual(['c', 'b', 'a'])
    const rest = await list(`?type=key.created&order=asc&after=${data[2]!.id}`)
    expect(rest.data.map((event) => event.data.name)).toEqual(['b', 'c'])
    expect(rest.has_more).toBe(false)
    expect((await list('?type=balance.low')).data).toEqual([])
    const stranger = await newClient()
    expect(
      (await jsonOf<{ data: { id: string }[] }>(stranger.caller.get('/v1/events'))).data.map(({ id }) => id),
    ).not.toContain(data[0]!.id)
    await moveClock(gateway.db.sql, '31 days')
    await gateway.runScheduled()
    expect((await list('')).data).toEqual([])
    const [left] = await gateway.db
      .sql`select count(*)::int as rows from webhook_deliveries d where not exists (select from outbox o where o.id = d.event_id)`
    expect(left!.rows).toBe(0)
  })

  test('come of everything that an account is told of', async () => {
    const { caller } = await newClient()
    const { account_id } = caller
    const of = async (type: string) => {
      const { data } = await jsonOf<{ data: { data: object }[] }>(caller.get(`/v1/events?type=${type}`))
      return data.map((event) => event.data)
    }
    await newEndpoint(caller, '/everything', { event_types: ['price.announced'] })
    const key = await jsonOf<{ id: string; key: string }>(
      caller.post('/v1/keys', { name: 'short', expires_at: new Date(Date.now() + 40 * 86_400_000).toISOString() }),
    )
    await gateway.admin('/admin/top-ups', { account_id, amount_nanousd: '1000', reference: 'paid' })
    expect(await of('balance.topped_up')).toMatchObject([
      { amount_nanousd: '1000', left_nanousd: '1000', reference: 'paid' },
    ])
    await gateway.admin('/admin/adjustments', {
      account_id,
      direction: 'debit',
      amount_nanousd: '900',
      reference: 'taken',
    })
    expect(await of('balance.low')).toMatchObject([{ id: account_id }, { id: account_id }])
    const price = { model: 'announced', input_nanousd_per_token: '1', output_nanousd_per_token: '2' }
    await gateway.admin('/admin/prices', price)
    expect(await of('price.announced')).toMatchObject([{ id: 'announced/1', ...price }])
    await fetch(`${gateway.url}/v1/keys/leak`, { method: 'POST', headers: { authorization: `Bearer ${key.key}` } })
    expect(await of('key.leaked')).toMatchObject([{ id: key.id, name: 'short' }])
    expect(await of('key.revoked')).toEqual([])
    await gateway.admin(`/admin/accounts/${account_id}/suspend`)
    await gateway.admin(`/admin/accounts/${account_id}/suspend`)
    await gateway.admin(`/admin/accounts/${account_id}/resume`)
    expect(await of('account.suspended')).toMatchObject([{ id: account_id }])
    const [now] = await gateway.db.sql`select test_clock.clock_timestamp() as now`
    const expires_at = new Date(now!.now.getTime() + 6 * 86_400_000).toISOString()
    const soon = await jsonOf<{ id: string }>(caller.post('/v1/keys', { name: 'soon', expires_at }))
    await gateway.runScheduled()
    await gateway.runScheduled()
    expect(await of('key.expiring')).toMatchObject([{ id: soon.id, expires_at }])
  })

  test('that matter are written to the account by e-mail', async () => {
    const { caller } = await newClient()
    const path = `/admin/accounts/${caller.account_id}/notifications`
    expect(await jsonOf(gateway.admin(path, undefined, 'GET'))).toMatchObject({ email: null, event_types: [] })
    const set = await jsonOf<{ event_types: string[] }>(gateway.admin(path, { email: 'owner@customer.com' }, 'PATCH'))
    expect(set.event_types).toContain('account.suspended')
    await gateway.admin(`/admin/accounts/${caller.account_id}/suspend`)
    await came(() => at('/mail'), 1)
    expect(at('/mail')[0]!.headers).toMatchObject({ 'x-postmark-server-token': 'mail-key' })
    expect(JSON.parse(at('/mail')[0]!.body)).toMatchObject({
      From: 'billing@example.com',
      To: 'owner@customer.com',
      Subject: 'Your account is suspended',
      TextBody: expect.stringContaining(`id: ${caller.account_id}`),
    })
    await gateway.admin(path, { email: null }, 'PATCH')
    await gateway.admin(`/admin/accounts/${caller.account_id}/resume`)
    expect(await jsonOf(gateway.admin(path, undefined, 'GET'))).toMatchObject({ email: null })
  })
})

async function startGatewayOn({ db }: TestGateway) {
  return startGateway({
    port: 0,
    database_url: db.url,
    worker: await bundledOnce(),
    assets: {},
    ticket_seeds: TICKET_SEED,
    admin_key,
    vars: { ...PATIENT, WEBHOOK_ALLOWED_RANGES: '127.0.0.1/32', WEBHOOK_WATCH_MS: '1' },
    log: () => {},
  })
}
