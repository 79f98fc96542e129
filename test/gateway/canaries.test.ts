// Keys and prompts planted in headers, bodies, paths and errors: none is found in the log, the database or the metrics.

import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createKey } from '../../gateway/auth/key.ts'
import { type Caller, model, startWithCaller, type TestGateway } from '../support/gateway.ts'
import { eventually } from '../support/stack.ts'

let gateway: TestGateway
let caller: Caller

beforeAll(async () => {
  ;[gateway, caller] = await startWithCaller()
})
afterAll(() => gateway?.stop())

const planted: string[] = []

function canary(): string {
  planted.push(planted.length % 2 === 0 ? createKey() : `canary${randomUUID().replaceAll('-', '')}`)
  return planted.at(-1)!
}

// Of a request's metadata, which is the only thing of it that a customer asks us to keep.
const kept = `kept${randomUUID().replaceAll('-', '')}`

const C = '/v1/completions'
const body = (own: object = {}) => ({ model, prompt: 'x', max_tokens: 2, ...own })
const bearer = (key: string) => ({ headers: { authorization: `Bearer ${key}` } })

test('thirty canaries are planted and none is found', async () => {
  const header = (name: string) => caller.post(C, body(), { headers: { [name]: canary() } })
  const answers = await Promise.all([
    ...[
      'user-agent',
      'x-request-id',
      'x-client-request-id',
      'referer',
      'cookie',
      'x-api-key',
      'idempotency-key',
      'openai-organization',
    ].map(header),
    caller.post(C, body(), bearer(canary())),
    caller.post(C, body(), bearer(`${canary()}x`)),
    caller.post(C, body(), { headers: { authorization: canary() } }),
    caller.post(C, body({ prompt: canary() })),
    caller.post(C, body({ prompt: [canary(), canary()] })),
    caller.post(C, body({ prompt: canary(), stream: true })),
    caller.post(C, body({ prompt: canary() }), { headers: { 'idempotency-key': canary() } }),
    caller.post(C, body({ prompt: canary(), stream: true }), { headers: { 'idempotency-key': canary() } }),
    caller.post('/v1/chat/completions', {
      model,
      messages: [
        { role: 'system', content: canary() },
        { role: 'user', content: canary() },
      ],
    }),
    caller.post('/v1/responses', { model, input: canary(), instructions: canary(), metadata: { said: kept } }),
    caller.post('/v1/responses', { model, input: [{ role: 'user', content: canary() }], user: canary(), stream: true }),
    caller.post(C, body({ stop: canary() })),
    caller.post(C, body({ user: canary() })),
    caller.post(C, body({ model: canary() })),
    caller.post(C, body({ [canary()]: 1 })),
    caller.post(C, `{"prompt": "${canary()}`),
    caller.post(C, body({ prompt: `${canary()}\0` })),
    caller.get(`/v1/usage/${canary()}`),
    caller.get(`/v1/models/${canary()}`),
    caller.get(`/v1/keys/${canary()}?key=${canary()}`),
    caller.get(`/v1/usage?after=${canary()}`),
    caller.get(`/${canary()}`),
    gateway.admin(`/admin/keys/${canary()}`, undefined, 'GET'),
    gateway.admin('/admin/keys', { account_id: canary(), name: 'x' }),
  ])
  await Promise.all(answers.map((answer) => answer.text()))
  gateway.node.options.refuse = 'engine_failed'
  await (await caller.post(C, body({ prompt: canary() }))).text()
  delete gateway.node.options.refuse
  const statuses = answers.map(({ status }) => status)
  expect(statuses.filter((status) => status >= 500)).toEqual([])
  expect(statuses.filter((status) => status === 200).length).toBeGreaterThan(10)
  expect(planted.length).toBeGreaterThanOrEqual(30)
  await eventually(async () => {
    const [row] = await gateway.db.sql`select count(*)::int as open from reservations where state = 'pending'`
    return row!.open === 0 ? true : null
  })

  const metrics = await (await fetch(`${gateway.url}/metrics`, bearer(gateway.metrics_token))).text()
  const places: Record<string, string> = { log: gateway.log.join('\n'), metrics, ...(await everyTable()) }
  expect(Object.keys(places).length).toBeGreaterThan(12)
  // What is looked for would be found: names that are there, are.
  expect(places.accounts).toContain('caller')
  expect(places.reservations).toContain(kept)
  for (const place of ['log', 'metrics']) expect(places[place]).not.toContain(kept)
  for (const [place, text] of Object.entries(places))
    for (const secret of [...planted, caller.api_key])
      expect(text.includes(secret), `${secret} in ${place}`).toBe(false)
})

/** All rows as text, bytes both as they are and in hex. */
async function everyTable(): Promise<Record<string, string>> {
  const { sql } = gateway.db
  const tables =
    await sql`select relname as name from pg_class where relkind in ('r', 'p') and relnamespace = 'public'::regnamespace`
  const dumps: Record<string, string> = {}
  for (const { name } of tables) {
    const rows = await sql`select t::text as text from ${sql(name)} as t`
    const text = rows.map((row) => row.text as string).join('\n')
    const bytes = [...text.matchAll(/\\x([0-9a-f]+)/g)].map(([, hex]) => Buffer.from(hex!, 'hex').toString('latin1'))
    dumps[name] = [text, ...bytes].join('\n')
  }
  return dumps
}
