// Secrets of webhooks outlive the secret that they are sealed with.

import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { FunctionName } from '../../../gateway/db/functions.ts'
import type { Env } from '../../../gateway/env.ts'
import { resealSecrets } from '../../../gateway/webhook/reseal.ts'
import { newSecret, opened } from '../../../gateway/webhook/secret.ts'
import { newPayer, startTestPostgres, type TestPostgres } from '../../support/postgres.ts'
import { settings } from '../../support/webhook-sender.ts'

let db: TestPostgres

beforeAll(async () => {
  db = await startTestPostgres()
})
afterAll(() => db?.stop())

function envWith(secrets: Partial<Env>): Env {
  const teller = {
    ask: (name: FunctionName, items: object[]) => db.ask(name, ...items),
    query: () => Promise.reject(new Error('nothing is read')),
  }
  return { ...settings(), TELLER: { idFromName: (name) => name, get: () => teller }, ...secrets }
}

test('a changed DATA_SECRET opens them while the one before is known, and by itself once they are sealed anew', async () => {
  const [before, after] = ['the secret before this one', 'the secret that follows it']
  const old = envWith({ DATA_SECRET: before })
  const { key_hash } = await newPayer(db, 0n, { scopes: ['webhooks'] })
  const { shown, stored } = await newSecret(old, 'hmac', null)
  const fields = {
    key_hash,
    created_by: randomUUID(),
    name: 'x',
    url: 'https://customer.com/',
    event_types: ['key.created'],
  }
  await db.ask('create_webhook_endpoint', { ...fields, signature_type: 'hmac', ...stored })
  const kept = async () => {
    const [row] = await db.sql`select encode(secret, 'base64') as sealed from webhook_endpoints`
    return row!.sealed as string
  }
  const alone = envWith({ DATA_SECRET: after })
  expect([await opened(old, await kept()), await opened(alone, await kept())]).toEqual([shown, null])
  await resealSecrets(alone)
  expect(await opened(alone, await kept())).toBeNull()
  await resealSecrets(envWith({ DATA_SECRET: after, DATA_SECRET_BEFORE: before }))
  expect([await opened(old, await kept()), await opened(alone, await kept())]).toEqual([null, shown])
})

test('of a seed they are the same, and of two seeds they are not', async () => {
  const env = envWith({})
  for (const type of ['hmac', 'ed25519'] as const) {
    const seeds = ['A'.repeat(43), 'A'.repeat(43), 'B'.repeat(43)]
    const [a, b, c] = await Promise.all(seeds.map((seed) => newSecret(env, type, seed)))
    expect([a!.shown === b!.shown, a!.shown === c!.shown]).toEqual([true, false])
  }
})
