// Webhooks: managed by OpenAI's own client, sent to a real receiver, verified by every library that customers use.

import OpenAI from 'openai'
import { Webhook } from 'standardwebhooks'
import { Webhook as SvixWebhook } from 'svix'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { type Caller, callerOf, startTestGateway, type TestGateway } from '../support/gateway.ts'
import { makeClockMovable } from '../support/movable-clock.ts'
import { eventually } from '../support/patience.ts'
import { type Receiver, startReceiver } from '../support/receiver.ts'

let gateway: TestGateway
let receiver: Receiver

beforeAll(async () => {
  receiver = await startReceiver()
  gateway = await startTestGateway({ WEBHOOK_ALLOWED_RANGES: '127.0.0.1/32', WEBHOOK_WATCH_MS: '1' }, makeClockMovable)
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
