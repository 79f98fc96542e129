// A second account can see or touch nothing of the first. Driven by the app's own routes: an endpoint with an id that is not
// listed here fails the test.

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { app, routes as table } from '../../gateway/app.ts'
import { type Caller, callerOf, chatBody, model, startTestGateway, type TestGateway } from '../support/gateway.ts'

const SCOPES = ['generate', 'usage', 'keys', 'webhooks', 'admin']
const MISSING: Record<string, string> = {
  key: '999999',
  request: '00000000-0000-4000-8000-000000000000',
  invoice: 'inv_999999_1',
  note: 'cn_999999_1',
  endpoint: 'whe_999999',
  response: `resp_${'0'.repeat(32)}`,
  chat: `chatcmpl-${'0'.repeat(32)}`,
  file: 'file-999999',
  batch: 'batch_999999',
}

/** Each endpoint of accounts with an id in its path: what the id names, and a body where it takes one. */
const OWNED: Record<
  string,
  {
    names: 'key' | 'request' | 'invoice' | 'note' | 'response' | 'chat' | 'endpoint' | 'file' | 'batch'
    body?: object
  }
> = {
  'GET /v1/usage/:request_id': { names: 'request' },
  'GET /v1/responses/:id': { names: 'response' },
  'GET /v1/responses/:id/input_items': { names: 'response' },
  'DELETE /v1/responses/:id': { names: 'response' },
  'POST /v1/responses/:id/cancel': { names: 'response', body: {} },
  'GET /v1/chat/completions/:id': { names: 'chat' },
  'POST /v1/chat/completions/:id': { names: 'chat', body: { metadata: {} } },
  'DELETE /v1/chat/completions/:id': { names: 'chat' },
  'GET /v1/chat/completions/:id/messages': { names: 'chat' },
  'GET /v1/files/:id': { names: 'file' },
  'DELETE /v1/files/:id': { names: 'file' },
  'GET /v1/files/:id/content': { names: 'file' },
  'GET /v1/batches/:id': { names: 'batch' },
  'POST /v1/batches/:id/cancel': { names: 'batch', body: {} },
  'GET /v1/keys/:id': { names: 'key' },
  'PATCH /v1/keys/:id': { names: 'key', body: { name: 'taken' } },
  'DELETE /v1/keys/:id': { names: 'key' },
  'POST /v1/keys/:id/rotate': { names: 'key', body: {} },
  'GET /v1/invoices/:id': { names: 'invoice' },
  'GET /v1/credit-notes/:id': { names: 'note' },
  'GET /v1/webhook_endpoints/:id': { names: 'endpoint' },
  'POST /v1/webhook_endpoints/:id': { names: 'endpoint', body: { name: 'taken' } },
  'DELETE /v1/webhook_endpoints/:id': { names: 'endpoint' },
  'POST /v1/webhook_endpoints/:id/rotate_secret': { names: 'endpoint', body: {} },
  'POST /v1/webhook_endpoints/:id/test': { names: 'endpoint', body: { event_type: 'key.created' } },
  'GET /v1/webhook_endpoints/:id/deliveries': { names: 'endpoint' },
  'POST /v1/webhook_endpoints/:id/deliveries/:delivery_id/resend': { names: 'endpoint', body: {} },
  'POST /v1/webhook_endpoints/:id/recover': { names: 'endpoint', body: { since: 0 } },
}
/** Ids that belong to nobody. */
const SHARED = ['GET /v1/models/:id']

const routes = app.routes
  .filter(({ method, path }) => method !== 'ALL' && path.startsWith('/v1/') && path.includes(':'))
  .map(({ method, path }) => `${method} ${path}`)

let gateway: TestGateway
let ids: Record<string, string>
let owner: Caller
const strangers = new Map<string, Caller>()

beforeAll(async () => {
  gateway = await startTestGateway()
  owner = await gateway.newCaller()
  const answer = await owner.post('/v1/completions', { model, prompt: 'x', max_tokens: 1 })
  const { id: response } = (await (await owner.post('/v1/responses', { model, input: 'x' })).json()) as { id: string }
  const stored = await owner.post('/v1/chat/completions', { ...chatBody, store: true })
  const { id: chat } = (await stored.json()) as { id: string }
  ids = {
    chat,
    key: owner.key_id,
    request: answer.headers.get('x-request-id')!,
    response,
    ...(await documentsOf(owner)),
    endpoint: await endpointOf(owner),
    ...(await batchOf(owner)),
  }
  const { account_id } = await gateway.newCaller()
  for (const scope of SCOPES) {
    const made = await gateway.admin('/admin/keys', { account_id, name: scope, scopes: [scope] })
    const { id, key } = (await made.json()) as { id: string; key: string }
    strangers.set(scope, callerOf(gateway.url, { account_id, key_id: id, api_key: key }))
  }
})
afterAll(() => gateway?.stop())

/** A closed invoice of the owner's, as the month's end would have left it, and a credit note of it. */
async function documentsOf({ account_id }: Caller): Promise<{ invoice: string; note: string }> {
  const { sql } = gateway.db
  await sql`
    insert into invoices
      (account_id, number, month, billing_mode, after_sequence, last_sequence, summed_sequence, opening_nanousd, closing_nanousd)
    values (${account_id}, 1, '2026-01-01Z', 'prepaid', 0, 1, 0, 0, 0)`
  await sql`insert into invoice_lines values (${account_id}, 1, 'top_up', '', 0, 1, 0, 0, 0, 0)`
  await sql`update invoices set summed_sequence = 1, closed_at = clock_timestamp() where account_id = ${account_id}`
  await sql`
    insert into credit_notes (account_id, number, invoice_number, entry_id, amount_nanousd, taxable_nanousd, tax_nanousd, buyer)
    select account_id, 1, 1, id, 1, 1, 0, '{}' from entries where account_id = ${account_id} and sequence = 1`
  return { invoice: `inv_${account_id}_1`, note: `cn_${account_id}_1` }
}

/** A webhook endpoint of the owner's, with a delivery of the id 1. */
async function endpointOf({ account_id }: Caller): Promise<string> {
  const { sql } = gateway.db
  const [made] = await sql`
    insert into webhook_endpoints (account_id, created_by, name, url, event_types)
    values (${account_id}, gen_random_uuid(), 'x', 'https://customer.com/', '{key.created}') returning id`
  await sql`insert into webhook_deliveries (account_id, endpoint_id, event_id, due_at) values (${account_id}, ${made!.id}, 1, 'infinity')`
  return `whe_${made!.id}`
}

/** An empty file of the owner's, and a batch of it that has ended. */
async function batchOf({ account_id, key_id }: Caller): Promise<{ file: string; batch: string }> {
  const { sql } = gateway.db
  const [file] = await sql`
    insert into files (account_id, created_by, filename, state, bytes_max, expires_at)
    values (${account_id}, gen_random_uuid(), 'x.jsonl', 'ready', 0, '2099-01-01Z') returning id`
  const [batch] = await sql`
    insert into batches (account_id, key_id, created_by, endpoint, input_file_id, output_expires_after_s, state, expires_at, completed_at)
    values (${account_id}, ${key_id}, gen_random_uuid(), '/v1/completions', ${file!.id}, 3600, 'completed', '2099-01-01Z', '2026-01-01Z')
    returning id`
  return { file: `file-${file!.id}`, batch: `batch_${batch!.id}` }
}

test('every endpoint with an id is listed', () => {
  expect(routes.toSorted()).toEqual([...Object.keys(OWNED), ...SHARED].toSorted())
})

describe.each(Object.entries(OWNED))('%s', (route, { names, body }) => {
  test.each(SCOPES)('of another account is as good as missing, to a key with the scope %s', async (scope) => {
    const [method, path] = route.split(' ') as [string, string]
    const ask = async (id: string) => {
      const answer = await strangers
        .get(scope)!
        .post(path.replace(/:id|:request_id/, id).replace(':delivery_id', 'whd_1'), body ?? '', {
          method,
          ...(!body && { body: null }),
        })
      const headers = [...answer.headers].filter(([name]) => name !== 'x-request-id' && name !== 'date')
      const text = await answer.text()
      return { status: answer.status, headers, body: text.replaceAll(id, 'the id that was asked for') }
    }
    const theirs = await ask(ids[names]!)
    expect(theirs).toEqual(await ask(MISSING[names]!))
    expect([403, 404]).toContain(theirs.status)
    if (scope === 'admin') expect(theirs.status).toBe(404)
  })
})

test('each of them is there for its owner', async () => {
  const made = await gateway.admin('/admin/keys', { account_id: owner.account_id, name: 'all', scopes: ['admin'] })
  const { key } = (await made.json()) as { key: string }
  const own = callerOf(gateway.url, { ...owner, api_key: key })
  for (const path of [
    `/v1/keys/${ids.key}`,
    `/v1/usage/${ids.request}`,
    `/v1/invoices/${ids.invoice}`,
    `/v1/credit-notes/${ids.note}`,
    `/v1/webhook_endpoints/${ids.endpoint}`,
    `/v1/files/${ids.file}`,
    `/v1/batches/${ids.batch}`,
    `/v1/responses/${ids.response}`,
    `/v1/responses/${ids.response}/input_items`,
  ])
    expect([path, (await own.get(path)).status]).toEqual([path, 200])
})

test('the owner’s key is as it was', async () => {
  const [key] = await gateway.db.sql`select name, revoked_at from keys where id = ${ids.key!}`
  expect(key).toEqual({ name: 'caller', revoked_at: null })
})

test('lists show nothing of it either', async () => {
  for (const path of [
    '/v1/keys',
    '/v1/usage',
    '/v1/invoices',
    '/v1/credit-notes',
    '/v1/entries',
    '/v1/account',
    '/v1/balance',
    '/v1/billing',
    '/v1/files',
    '/v1/batches',
    '/v1/usage?group_by=key',
  ]) {
    const text = await (await strangers.get('admin')!.get(path)).text()
    expect(text).not.toContain(ids.request)
    for (const id of [ids.key, ids.file, ids.batch]) expect(text).not.toContain(`"${id}"`)
  }
})

/** The scope that each endpoint of accounts asks for. */
const ASKED: Record<string, string> = {
  'POST /v1/completions': 'generate',
  'POST /v1/chat/completions': 'generate',
  'POST /v1/messages': 'generate',
  'POST /v1/messages/count_tokens': 'generate',
  'POST /v1/responses': 'generate',
  'POST /v1/responses/input_tokens': 'generate',
  'GET /v1/files': 'generate',
  'POST /v1/files': 'generate',
  'GET /v1/files/:id': 'generate',
  'DELETE /v1/files/:id': 'generate',
  'GET /v1/files/:id/content': 'generate',
  'GET /v1/batches': 'generate',
  'POST /v1/batches': 'generate',
  'GET /v1/batches/:id': 'generate',
  'POST /v1/batches/:id/cancel': 'generate',
  'GET /v1/responses/:id': 'generate',
  'GET /v1/responses/:id/input_items': 'generate',
  'DELETE /v1/responses/:id': 'generate',
  'POST /v1/responses/:id/cancel': 'generate',
  'GET /v1/chat/completions': 'generate',
  'GET /v1/chat/completions/:id': 'generate',
  'POST /v1/chat/completions/:id': 'generate',
  'DELETE /v1/chat/completions/:id': 'generate',
  'GET /v1/chat/completions/:id/messages': 'generate',
  'POST /v1/tokenize': 'generate',
  'POST /v1/detokenize': 'generate',
  'POST /v1/estimate': 'generate',
  'POST /v1/score': 'generate',
  'POST /v1/rerank': 'generate',
  'GET /v1/models': 'generate',
  'GET /v1/models/:id': 'generate',
  'GET /v1/usage': 'usage',
  'GET /v1/usage/:request_id': 'usage',
  'GET /v1/balance': 'usage',
  'GET /v1/account': 'usage',
  'GET /v1/billing': 'usage',
  'GET /v1/entries': 'usage',
  'GET /v1/invoices': 'usage',
  'GET /v1/invoices/:id': 'usage',
  'GET /v1/credit-notes': 'usage',
  'GET /v1/credit-notes/:id': 'usage',
  'GET /v1/keys': 'keys',
  'POST /v1/keys': 'keys',
  'GET /v1/keys/:id': 'keys',
  'PATCH /v1/keys/:id': 'keys',
  'DELETE /v1/keys/:id': 'keys',
  'POST /v1/keys/:id/rotate': 'keys',
  'GET /v1/webhook_endpoints': 'webhooks',
  'POST /v1/webhook_endpoints': 'webhooks',
  'GET /v1/webhook_endpoints/:id': 'webhooks',
  'POST /v1/webhook_endpoints/:id': 'webhooks',
  'DELETE /v1/webhook_endpoints/:id': 'webhooks',
  'POST /v1/webhook_endpoints/:id/rotate_secret': 'webhooks',
  'POST /v1/webhook_endpoints/:id/test': 'webhooks',
  'GET /v1/webhook_endpoints/:id/deliveries': 'webhooks',
  'POST /v1/webhook_endpoints/:id/deliveries/:delivery_id/resend': 'webhooks',
  'POST /v1/webhook_endpoints/:id/recover': 'webhooks',
  'GET /v1/webhook_event_types': 'webhooks',
  'GET /v1/events': 'webhooks',
}
/** Any key may give itself up, and what is bought is for the tests of Stripe. */
const ASKED_ELSEWHERE = ['POST /v1/keys/leak', 'POST /v1/top-ups/checkout']
const BODIES: Record<string, object> = {
  '/v1/completions': { model, prompt: 'x', max_tokens: 1 },
  '/v1/chat/completions': { model, messages: [{ role: 'user', content: 'x' }], max_tokens: 1 },
  '/v1/messages': { model, messages: [{ role: 'user', content: 'x' }], max_tokens: 1 },
  '/v1/messages/count_tokens': { model, messages: [{ role: 'user', content: 'x' }] },
  '/v1/responses': { model, input: 'x' },
  '/v1/responses/input_tokens': { model, input: 'x' },
  '/v1/tokenize': { model, prompt: 'x' },
  '/v1/detokenize': { model, tokens: [1] },
  '/v1/estimate': { model, prompt: 'x', max_tokens: 1, endpoint: '/v1/completions' },
  '/v1/score': { model, text_1: 'x', text_2: 'y' },
  '/v1/rerank': { model, query: 'x', documents: ['y'] },
  '/v1/keys': { name: 'k', scopes: ['keys'] },
  '/v1/batches': { input_file_id: MISSING.file, endpoint: '/v1/completions', completion_window: '24h' },
  '/v1/webhook_endpoints': { name: 'x', url: 'https://customer.com/', event_types: ['key.created'] },
}

test('the scope of every endpoint of accounts is listed', () => {
  const own = app.routes.filter(({ method, path }) => method !== 'ALL' && /^\/v1\/[^*]/.test(path))
  const listed = [...Object.keys(ASKED), ...ASKED_ELSEWHERE]
  expect(own.map(({ method, path }) => `${method} ${path}`).toSorted()).toEqual(listed.toSorted())
})

test('it is the one that the route declares', () => {
  const declared = table.flatMap(({ path, who, scope, methods }) =>
    who === 'key' ? methods.map(({ method }) => [`${method} ${path}`, scope]) : [],
  )
  const expected = [...Object.entries(ASKED), ['POST /v1/keys/leak', null], ['POST /v1/top-ups/checkout', 'admin']]
  expect(declared.toSorted()).toEqual(expected.toSorted())
})

test.each(Object.entries(ASKED))('%s is for keys with the scope %s or admin, and no others', async (route, asked) => {
  const [method, path] = route.split(' ') as [string, string]
  const id = path.startsWith('/v1/models') ? model : MISSING[OWNED[route]?.names ?? 'key']!
  const body = method === 'GET' ? null : (BODIES[path] ?? OWNED[route]?.body)
  for (const scope of SCOPES) {
    const answer = await strangers
      .get(scope)!
      .post(path.replace(/:\w+/, id).replace(':delivery_id', 'whd_1'), body ?? '', {
        method,
        ...(!body && { body: null }),
      })
    const { error } = (await answer.json()) as { error?: { message: string; code?: string; details?: object } }
    const code = error?.code ?? (error?.details as { error_code?: string } | undefined)?.error_code
    const is_refused = answer.status === 403 && code === 'missing_scope'
    if (is_refused) expect(error!.message).toBe(`This needs a key with the scope ${asked}. This one has ${scope}.`)
    expect([scope, is_refused]).toEqual([scope, scope !== asked && scope !== 'admin'])
  }
})

test('no key of an account opens an endpoint of the operator’s or of a node’s', async () => {
  const closed = app.routes.filter(({ method, path }) => method !== 'ALL' && /^\/(admin|internal)\//.test(path))
  expect(closed.length).toBeGreaterThan(10)
  for (const { method, path } of closed) {
    const asked = { method, ...(method === 'GET' || method === 'DELETE' ? { body: null } : { body: '{}' }) }
    const answer = await strangers.get('admin')!.post(path.replace(/:\w+/g, '1'), '', asked)
    expect([method, path, answer.status]).toEqual([method, path, 401])
  }
})

test('a key that is bound to other addresses is refused by every endpoint of accounts', async () => {
  const { account_id } = strangers.get('admin')!
  const made = await gateway.admin('/admin/keys', {
    account_id,
    name: 'bound',
    scopes: ['admin'],
    allowed_ips: ['10.0.0.0/8'],
  })
  const bound = callerOf(gateway.url, { account_id, key_id: '', api_key: ((await made.json()) as { key: string }).key })
  const open = app.routes.filter(
    ({ method, path }) => method === 'GET' && path.startsWith('/v1/') && !path.includes('*'),
  )
  expect(open.length).toBeGreaterThan(5)
  for (const { path } of open) {
    const named = OWNED[`GET ${path}`]
    const answer = await bound.get(path.replace(/:\w+/, named ? MISSING[named.names]! : model))
    expect([path, answer.status]).toEqual([path, 403])
  }
})
