// The walk of docs/operations.md, "Change secrets": the key of tickets and the key of a node are replaced while requests run, the
// gateway is killed and started again on the way, and nothing is lost or billed otherwise than it was counted.

import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Service, startService } from '../../gpu-node/service.ts'
import { createFundedKey } from '../../local/demo-account.ts'
import { type RunningGateway, startGateway } from '../../local/gateway.ts'
import { freePort } from '../../local/port.ts'
import { registerNode } from '../../local/register-node.ts'
import { FakeRunner } from '../support/fake-runner.ts'
import { bundledOnce, PATIENT } from '../support/gateway.ts'
import { NODE_ID } from '../support/generate.ts'
import { issuer, newSeed, OTHER_SEED, otherSigner, TICKET_SEED, ticketSigner } from '../support/keys.ts'
import { nodeConfig } from '../support/native-runner.ts'
import { ledgerFindings, startTestPostgres, type TestPostgres } from '../support/postgres.ts'
import { eventually } from '../support/stack.ts'

const model = 'ziya-coding-mini'
const admin_key = 'admin-key-of-the-tests'
const data_dir = mkdtempSync(join(tmpdir(), 'ziya-rotation-'))

let db: TestPostgres
let gateway: RunningGateway
let node: Service
let port: number
let customer: Awaited<ReturnType<typeof createFundedKey>>

beforeAll(async () => {
  db = await startTestPostgres()
  port = await freePort()
  await startWith(TICKET_SEED)
  node = await startNodeWith({})
  await registerNode(db.url, { id: NODE_ID, url: node.url, model, key: node.public_key })
  customer = await createFundedKey({ gateway_url: gateway.url, admin_key }, 'customer', '10000000000')
  await nodeIsServed()
})
afterAll(async () => {
  await node?.drain()
  await gateway?.stop()
  await db?.stop()
  rmSync(data_dir, { recursive: true, force: true })
})

/** A new gateway in the place of the one before, which is killed with whatever it carries. */
async function startWith(ticket_seeds: string): Promise<void> {
  await gateway?.stop()
  const options = { port, database_url: db.url, worker: await bundledOnce(), vars: PATIENT, log: () => {} }
  gateway = await startGateway({ ...options, ticket_seeds, admin_key })
}

async function startNodeWith(changes: object): Promise<Service> {
  const config = nodeConfig({ model_id: model, data_dir, gateway_url: `http://127.0.0.1:${port}`, ...changes })
  return startService({ config, runner: new FakeRunner({ step_ms: 10 }), log: pino({ level: 'silent' }) })
}

/** None where the node has not been told of any yet. */
const knownKeys = () => {
  const file = join(data_dir, 'ticket-keys.json')
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as { kid: string }[]).map(({ kid }) => kid) : []
}

function nodeIsServed() {
  return eventually(async () => {
    const { nodes } = (await (await fetch(`${gateway.url}/healthz`)).json()) as { nodes?: Record<string, number> }
    return nodes?.[model] ? true : null
  }, 15_000)
}

async function begin(max_tokens: number): Promise<Response> {
  const headers = { authorization: `Bearer ${customer.api_key}`, 'content-type': 'application/json' }
  const body = JSON.stringify({ model, prompt: 'one', max_tokens, stream: true })
  const response = await fetch(`${gateway.url}/v1/completions`, { method: 'POST', headers, body })
  expect(response.status).toBe(200)
  return response
}

/** Returns once some of it has come: a node knows that a token was taken when it writes the next. */
async function hears(response: Response): Promise<void> {
  const reader = response.body!.getReader()
  for (let said = ''; said.split(/"text":"[^"]/).length < 4; ) {
    const { value, done } = await reader.read()
    if (done) throw new Error(`it ended: ${said}`)
    said += Buffer.from(value)
  }
}

async function billed(response: Response): Promise<{ completion_tokens: number; state: string }> {
  const request_id = response.headers.get('x-request-id')!
  const { value } = await eventually(async () => {
    const [row] =
      await db.sql`select u.completion_tokens::int, r.state from usage u join reservations r using (request_id)
      where request_id = ${request_id}`
    return row ?? null
  }, 15_000)
  expect(await ledgerFindings(db.sql, [customer.account_id])).toEqual([])
  return value as never
}

test('the key of tickets is replaced, while requests run and the gateway is killed on the way', async () => {
  const cut = await begin(900)
  await hears(cut)

  await startWith(`${TICKET_SEED},${OTHER_SEED}`) // the next one is told of; the request is settled by the old
  const { completion_tokens, state } = await billed(cut)
  expect(state).toBe('posted')
  expect(completion_tokens).toBeGreaterThan(0)
  expect(completion_tokens).toBeLessThan(900)
  await eventually(async () => (knownKeys().includes(otherSigner.kid) ? true : null), 10_000)
  await nodeIsServed()
  const signed_by_old = await begin(900)
  await hears(signed_by_old)

  await startWith(`${OTHER_SEED},${TICKET_SEED}`) // it signs; what the old one signed is still settled
  expect((await billed(signed_by_old)).state).toBe('posted')
  await nodeIsServed()
  const whole = await begin(20)
  expect(await whole.text()).toContain('[DONE]')
  expect(await billed(whole)).toEqual({ completion_tokens: 20, state: 'posted' })

  await startWith(OTHER_SEED) // nothing is open under the old one, which is forgotten everywhere
  await eventually(async () => (knownKeys().includes(ticketSigner.kid) ? null : true), 10_000)
  const [anomalies] = await db.sql`select count(*)::int as count from anomalies`
  expect(anomalies!.count).toBe(0)
}, 60_000)

test('a node that was away all the while takes the new key from its folder, and its own key is replaced', async () => {
  const away = await begin(900)
  await hears(away)
  await node.drain() // the last report tells what was counted

  const node_key = newSeed()
  node = await startNodeWith({ node_key, ticket_keys: issuer.keys.map(({ x }) => x) }) // configured with the old one
  const headers = { authorization: `Bearer ${admin_key}`, 'content-type': 'application/json' }
  const admin = (path: string, method: string, body: object) =>
    fetch(`${gateway.url}/admin/nodes/${NODE_ID}${path}`, { method, headers, body: JSON.stringify(body) })
  expect((await admin('/rotate', 'POST', { public_key: node.public_key, overlap_s: 600 })).status).toBe(200)
  expect((await admin('', 'PATCH', { url: node.url })).status).toBe(200)
  await nodeIsServed()
  expect((await billed(away)).completion_tokens).toBeGreaterThan(0)
  const whole = await begin(5)
  expect(await whole.text()).toContain('[DONE]')
  expect(await billed(whole)).toEqual({ completion_tokens: 5, state: 'posted' })
}, 60_000)
