// What the ledger makes of an attempt to deliver an event, case by case (test/gateway/webhook/histories.test.ts has them at random).

import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { newPayer, type Payer, startTestPostgres, type TestPostgres } from '../support/postgres.ts'

let db: TestPostgres
let payer: Payer
let endpoint_id: string

beforeAll(async () => {
  db = await startTestPostgres()
})
afterAll(() => db?.stop())
beforeEach(async () => {
  await db.sql`delete from webhook_deliveries`
  payer = await newPayer(db, 0n, { scopes: ['webhooks'] })
  const [made] = await db.ask('create_webhook_endpoint', {
    ...{ key_hash: payer.key_hash, created_by: randomUUID(), name: 'e', url: 'https://customer.com/' },
    ...{ event_types: ['account.suspended', 'account.resumed'], signature_type: 'hmac' },
    ...{ sealed: 'c2VhbGVk', sealed_by: 'x', hint: 'h', public_key: null },
  })
  endpoint_id = made!.endpoint.id
})

const suspend = () => db.ask('suspend_account', { operator: true, account_id: payer.account_id })
const resume = () => db.ask('resume_account', { operator: true, account_id: payer.account_id })
const rows = () =>
  db.sql`select state, tries, jsonb_array_length(attempts) as attempts from webhook_deliveries where endpoint_id = ${endpoint_id} order by id`

async function claim() {
  const limits = { count_max: 9, slow_max: 9, lease_ms: 60_000, deliveries_max: 9 }
  return (await db.ask('claim_deliveries', limits))[0]!.endpoints[0]!
}

async function note({ lease, deliveries: [delivery] }: Awaited<ReturnType<typeof claim>>, status: number) {
  const attempt = {
    ...{ delivery_id: delivery!.delivery_id, tries: delivery!.tries, status, error: null, answer: null },
    ...{ started_unix_ms: 1, duration_ms: 1, retry_after_s: null },
  }
  return (await db.ask('note_attempt', { endpoint_id, lease, releases: false, attempt }))[0]!.decision
}

test('an attempt that is noted again counts once, whether it failed or not', async () => {
  await suspend()
  const claimed = await claim()
  expect([await note(claimed, 500), await note(claimed, 500)]).toEqual(['noted', 'noted'])
  expect(await rows()).toEqual([{ state: 'pending', tries: 1, attempts: 1 }])
  expect([await note(claimed, 200), await note(claimed, 200)]).toEqual(['noted', 'noted'])
  expect(await rows()).toEqual([{ state: 'delivered', tries: 2, attempts: 2 }])
  expect(await note(claimed, 500)).toBe('noted')
  expect(await rows()).toEqual([{ state: 'delivered', tries: 2, attempts: 2 }])
})

test('a failure in a lease that has ended counts for nothing, a success does', async () => {
  await suspend()
  const claimed = await claim()
  const later = { ...claimed, lease: randomUUID() }
  expect(await note(later, 500)).toBe('superseded')
  expect(await rows()).toEqual([{ state: 'pending', tries: 0, attempts: 0 }])
  expect(await note(later, 200)).toBe('noted')
  expect(await rows()).toEqual([{ state: 'delivered', tries: 1, attempts: 1 }])
})

test('nothing waits for an endpoint that is disabled, and it has what comes once it is enabled', async () => {
  const set = (status: string) =>
    db.ask('update_webhook_endpoint', { key_hash: payer.key_hash, endpoint_id, fields: { status } })
  await set('disabled')
  await suspend()
  await resume()
  expect(await rows()).toEqual([])
  await set('enabled')
  await suspend()
  expect(await rows()).toEqual([{ state: 'pending', tries: 0, attempts: 0 }])
})
