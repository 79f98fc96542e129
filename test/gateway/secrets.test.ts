// Secrets that are changed: the keys of entry, and the keys of what is at rest, each by itself.

import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type RunningGateway, startGateway } from '../../local/gateway.ts'
import {
  bundledOnce,
  type Caller,
  callerOf,
  errorOf,
  model,
  PATIENT,
  startTestGateway,
  type TestGateway,
} from '../support/gateway.ts'
import { TICKET_SEED } from '../support/keys.ts'

const DATA_SECRET = 'data-secret-of-the-tests'

let first: TestGateway
let caller: Caller
const others: RunningGateway[] = []

beforeAll(async () => {
  first = await startTestGateway({ DATA_SECRET })
  caller = await first.newCaller()
})
afterAll(async () => {
  for (const gateway of others) await gateway.stop()
  await first?.stop()
})

/** The same deployment with other secrets, and the caller at it. */
async function deployedWith(admin_key: string, vars: Record<string, string>): Promise<{ url: string; caller: Caller }> {
  const secrets = { ticket_seeds: TICKET_SEED, admin_key }
  const options = { port: 0, database_url: first.db.url, worker: await bundledOnce(), log: () => {} }
  const gateway = await startGateway({ ...options, ...secrets, vars: { ...PATIENT, ...vars } })
  others.push(gateway)
  return { url: gateway.url, caller: callerOf(gateway.url, caller) }
}

const body = { model, prompt: 'kept', max_tokens: 3 }
const asked = async (who: Caller, key: string, of = body) =>
  who.post('/v1/completions', of, { headers: { 'idempotency-key': key } })

test('another ADMIN_KEY changes nothing for customers: their results are answered again', async () => {
  const key = randomUUID()
  const text = await (await asked(caller, key)).text()
  const later = await deployedWith('another-admin-key-of-the-tests', { DATA_SECRET })
  const again = await asked(later.caller, key)
  expect([again.status, again.headers.get('idempotency-replayed'), await again.text()]).toEqual([200, 'true', text])
  const me = (admin_key: string) =>
    fetch(`${later.url}/admin/me`, { headers: { authorization: `Bearer ${admin_key}` } })
  expect([(await me(first.admin_key)).status, (await me('another-admin-key-of-the-tests')).status]).toEqual([401, 200])
})

test('another DATA_SECRET still opens what the one before it sealed, and tells another body from the same', async () => {
  const key = randomUUID()
  const text = await (await asked(caller, key)).text()
  const secrets = { DATA_SECRET: 'a-newer-data-secret-of-the-tests', DATA_SECRET_BEFORE: DATA_SECRET }
  const later = await deployedWith(first.admin_key, secrets)
  const again = await asked(later.caller, key)
  expect([again.status, await again.text()]).toEqual([200, text])
  const other = await asked(later.caller, key, { ...body, max_tokens: 2 })
  expect(await errorOf(other)).toMatchObject({ status: 422, code: 'idempotency_mismatch' })
})

test('without a DATA_SECRET the ADMIN_KEY is it, as before; then a new one takes over with that as the one before', async () => {
  const bare = await deployedWith('admin-key-that-keyed-the-data', {})
  const key = randomUUID()
  const text = await (await asked(bare.caller, key)).text()
  const vars = { DATA_SECRET: 'a-data-secret-of-its-own-now', DATA_SECRET_BEFORE: 'admin-key-that-keyed-the-data' }
  const later = await deployedWith('admin-key-that-is-only-that', vars)
  expect(await (await asked(later.caller, key)).text()).toBe(text)
})
