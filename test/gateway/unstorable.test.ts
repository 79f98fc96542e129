// What Postgres cannot hold, in every text that a caller can send: NUL, halves of surrogate pairs, more than an index takes. It is refused
// before the database is asked, by the name of the field; and nothing a client does on the way in is an error of ours.

import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { DOCUMENT } from '../../local/openapi.ts'
import { type ApiDocument, RequestDrawer } from '../support/drawn-requests.ts'
import { draws } from '../support/draws.ts'
import { type Caller, callerOf, errorOf, model, startTestGateway, type TestGateway } from '../support/gateway.ts'
import { seededRandom } from '../support/random.ts'

let gateway: TestGateway
let caller: Caller
const random = seededRandom()
const document = JSON.parse(readFileSync(DOCUMENT, 'utf8')) as ApiDocument
const BODIES = draws('BODIES', { few: 1, all: 20 }) // of each operation

beforeAll(async () => {
  gateway = await startTestGateway()
  const { account_id } = await gateway.newCaller()
  const made = await gateway.admin('/admin/keys', { account_id, name: 'all', scopes: ['admin'] })
  const { id, key } = (await made.json()) as { id: string; key: string }
  caller = callerOf(gateway.url, { account_id, key_id: id, api_key: key })
})
afterAll(() => gateway?.stop())

const hostile = ['\0', 'a\0b', '\ud800', 'x\udfffy', '\ud83d', 'x'.repeat(3000), `${'é'.repeat(2000)}\0`]
const pick = () => random.pick(hostile)

const bodies: [string, () => Record<string, unknown>][] = [
  ['/v1/completions', () => ({ model, prompt: 'x', stop: ['a'], user: 'u' })],
  ['/v1/chat/completions', () => ({ model, messages: [{ role: 'user', content: 'x' }], stop: 'a' })],
  [
    '/v1/keys',
    () => ({ name: 'k', tags: ['t'], models: ['m'], allowed_ips: ['10.0.0.0/8'], expires_at: '2030-01-01T00:00:00Z' }),
  ],
  ['/admin/accounts', () => ({ name: 'a' })],
  ['/admin/keys', () => ({ account_id: caller.account_id, name: 'k', tags: ['t'], models: ['m'] })],
  [
    '/admin/top-ups',
    () => ({ account_id: caller.account_id, amount_nanousd: '1', reference: randomUUID(), note: 'n' }),
  ],
  [
    '/admin/grants',
    () => ({
      account_id: caller.account_id,
      amount_nanousd: '1',
      reference: randomUUID(),
      expires_at: '2030-01-01T00:00:00Z',
      note: 'n',
    }),
  ],
  [
    '/admin/refunds',
    () => ({ account_id: caller.account_id, request_id: randomUUID(), reference: randomUUID(), note: 'n' }),
  ],
  [
    '/admin/adjustments',
    () => ({
      account_id: caller.account_id,
      direction: 'credit',
      amount_nanousd: '1',
      reference: randomUUID(),
      note: 'n',
    }),
  ],
  ['/admin/prices', () => ({ model: 'm', input_nanousd_per_token: '1', output_nanousd_per_token: '1' })],
]

/** The body with each of its texts in turn replaced, lists and objects inside too, of what is not odd by its size; and where that was. */
function* replaced(value: unknown, path: string[] = []): Generator<[string[], unknown]> {
  if (typeof value === 'string') yield [path, pick()]
  else if (typeof value === 'object' && value !== null && path.length < 9)
    for (const [name, inner] of Object.entries(value).slice(0, 30))
      for (const [where, changed] of replaced(inner, [...path, name]))
        yield [where, Array.isArray(value) ? value.with(Number(name), changed) : { ...value, [name]: changed }]
}

function post(path: string, body: unknown, headers: Record<string, string>, method = 'POST'): Promise<Response> {
  const key = path.startsWith('/admin') ? gateway.admin_key : caller.api_key
  const init = {
    method,
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json', ...headers },
  }
  // JSON.stringify writes a half of a pair as an escape: the bytes are text, what they say is none.
  return fetch(gateway.url + path, { ...init, body: JSON.stringify(body) })
}

test('in any field of any body, with an Idempotency-Key and without', async () => {
  for (const [path, make] of bodies) {
    for (const [where, body] of replaced(make())) {
      const headers: Record<string, string> = random.chance(0.5) ? { 'idempotency-key': randomUUID() } : {}
      const answer = await post(path, body, headers)
      if (answer.status < 300 && where[0] === 'user') continue // it is no text of ours: nothing keeps it
      if (answer.status < 300) expect(JSON.stringify(body)).not.toMatch(/\\u0000|\\ud[89a-f]/)
      else expect(answer.status, `${path} ${where}: ${await answer.clone().text()}`).toBeLessThan(500)
      if (answer.status === 400) expect((await errorOf(answer)).param).toContain(where[0])
    }
  }
  expect(gateway.log.filter((line) => line.includes('refused (22'))).toEqual([])
})

test('in any field of any body that the document knows', async () => {
  const { account_id, key_id } = caller
  const known = { account_id: [account_id], id: [account_id, key_id], model: [model], stream: [false] }
  const drawer = new RequestDrawer(document, random, known)
  const failed: string[] = []
  for (const { method, path, body: whole } of Array.from({ length: BODIES }, () => drawer.unspoiled()).flat()) {
    for (const [where, body] of replaced(whole)) {
      const answer = await post(path, body, {}, method)
      if (answer.status >= 500) failed.push(`${method} ${path} ${where}: ${await answer.text()}`)
      else await answer.body?.cancel()
    }
  }
  expect(failed).toEqual([])
})

test('in a path, a query, an Idempotency-Key', async () => {
  const long = 'k'.repeat(3000)
  const authorization = `Bearer ${caller.api_key}`
  const ids = ['%00', '%ED%A0%80', long, '..%2f', '%F0%9F%98%80', '%', '1%00']
  for (const id of ids) {
    for (const headers of [{}, { 'idempotency-key': randomUUID() }]) {
      const answer = await post(`/v1/keys/${id}/rotate`, {}, headers as Record<string, string>)
      expect([400, 404]).toContain(answer.status)
    }
    for (const path of [
      `/v1/keys/${id}`,
      `/v1/usage/${id}`,
      `/v1/invoices/${id}`,
      `/v1/usage?after=${id}`,
      `/v1/keys?after=${id}`,
      `/v1/usage?group_by=${id}`,
      `/v1/models/${id}`,
    ])
      expect([400, 404], path).toContain((await fetch(gateway.url + path, { headers: { authorization } })).status)
  }
  for (const key of ['', long, 'é'.repeat(200), '\u0001', 'ÿ']) {
    const answer = await post('/v1/keys', { name: 'x' }, { 'idempotency-key': key }).catch(() => null)
    if (answer) expect([201, 400]).toContain(answer.status)
  }
  expect(gateway.log.filter((line) => line.includes('database:'))).toEqual([])
})

test('in any parameter of any query that the document knows', async () => {
  for (const [path, operations] of Object.entries(document.paths)) {
    for (const { name, in: where } of operations.get?.parameters ?? []) {
      if (where !== 'query') continue
      const key = path.startsWith('/admin') ? gateway.admin_key : caller.api_key
      for (const value of ['%00', 'a%00b', 'name%3Da%00', `name%3D${'%00'.repeat(100)}`]) {
        const url = `${gateway.url}${path.replaceAll(/\{\w+\}/g, caller.account_id)}?${name}=${value}`
        const answer = await fetch(url, { headers: { authorization: `Bearer ${key}` } })
        expect([400, 404], `${url}: ${await answer.text()}`).toContain(answer.status)
      }
    }
  }
})

test('in the name of a parameter', async () => {
  for (const path of ['/v1/chat/completions?metadata[a%00]=x', '/v1/usage?a%00=1', '/v1/files?%00']) {
    const answer = await caller.get(path)
    expect([path, answer.status]).toEqual([path, 400])
  }
})

test('of more members than any body needs, or deeper, nothing is looked at', async () => {
  const many = (member: string, count = 170_000) => `[${Array.from({ length: count }, () => member)}]`
  const of: [string, string][] = [
    ['/v1/completions', `{"model":"${model}","prompt":${many('"a"')}}`],
    ['/v1/completions', `{"model":"${model}","prompt":${many('null')}}`],
    ['/v1/completions', `{"model":"${model}","prompt":${many('1.5')}}`],
    ['/v1/completions', `{"model":"${model}","prompt":${many('-1')}}`],
    ['/v1/completions', `{"model":"${model}","prompt":"x","stop":${many('1')}}`],
    ['/v1/completions', `{"model":"${model}","prompt":"x","stop_token_ids":${many('1')}}`],
    ['/v1/chat/completions', `{"model":"${model}","messages":${many('{}')}}`],
    [
      '/v1/chat/completions',
      `{"model":"${model}","messages":${many(`{"role":"user","content":${many('1', 900)}}`, 250)}}`,
    ],
    ['/v1/keys', `{"name":"x","tags":${many('"a"')}}`],
    ['/v1/keys', `{"name":"x","allowed_ips":${many('1')}}`],
    ['/v1/keys', `{${Array.from({ length: 90_000 }, (_, i) => `"${i}":1`)}}`],
  ]
  for (const [path, body] of of) {
    const answer = await caller.post(path, body)
    expect(answer.status).toBe(400)
    expect((await errorOf(answer)).code).toMatch(/invalid_value|invalid_type/)
  }
})

test('who leaves on the way in is no error, in the log or anywhere, and is counted', async () => {
  const { hostname, port } = new URL(gateway.url)
  const before = gateway.log.length
  const head = (path: string) =>
    `POST ${path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${caller.api_key}\r\ncontent-type: application/json\r\n`
  const left = Array.from({ length: 30 }, async (_, i) => {
    const socket = connect(Number(port), hostname)
    socket.on('error', () => {})
    const path = random.pick(['/v1/completions', '/v1/keys', '/stripe/webhook', '/internal/sync'])
    const length = i % 2 ? 'content-length: 5000\r\n' : 'transfer-encoding: chunked\r\n'
    const idempotent = i % 3 ? '' : `idempotency-key: left-${i}\r\n`
    socket.write(
      `${head(path)}${length}${idempotent}x-node-signature: x\r\n\r\n${i % 2 ? '{"model"' : '8\r\n{"model"\r\n'}`,
    )
    await new Promise((resolve) => setTimeout(resolve, 20 + random.below(50)))
    if (random.chance(0.5)) socket.destroy()
    else socket.resetAndDestroy()
  })
  await Promise.all(left)
  await expect
    .poll(
      async () =>
        Number(
          /^gateway_clients_gone (\d+)$/m.exec(
            await (
              await fetch(`${gateway.url}/metrics`, { headers: { authorization: `Bearer ${gateway.metrics_token}` } })
            ).text(),
          )?.[1],
        ),
      { timeout: 10_000 },
    )
    .toBeGreaterThan(0)
  expect(gateway.log.slice(before).filter((line) => !line.startsWith('refused: '))).toEqual([])
})
