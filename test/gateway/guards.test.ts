// Who may come in, for every route of the table: nothing is asked of the database for somebody who may not.

import { describe, expect, test } from 'vitest'
import { app, routes } from '../../gateway/app.ts'
import { createKey } from '../../gateway/auth/key.ts'
import { listPrices } from '../../gateway/endpoint/operator/prices.ts'
import type { Env } from '../../gateway/env.ts'
import { anybody, key, operator } from '../../gateway/guard.ts'
import { needs, route } from '../../gateway/route.ts'

const ADMIN_KEY = 'admin-key-of-the-tests'
const METRICS_TOKEN = 'metrics-token-of-the-tests'
const unlimited = { limit: async () => ({ success: true }) }
const env = {
  ADMIN_KEY,
  METRICS_TOKEN,
  TICKET_SEEDS: 'A'.repeat(43),
  FLOOD: unlimited,
  FAILED_AUTHENTICATION: unlimited,
  get TELLER(): Env['TELLER'] {
    throw new Error('the database was asked')
  },
}
const context = { waitUntil: () => {}, passThroughOnException: () => {}, props: {} }

async function statusOf(method: string, path: string, authorization?: string): Promise<number> {
  const init = {
    method,
    headers: { 'content-type': 'application/json', ...(authorization && { authorization: `Bearer ${authorization}` }) },
    ...(method !== 'GET' && { body: '{}' }),
  }
  const url = `http://gateway${path.replace(/:\w+/g, '1')}`
  return (await app.fetch(new Request(url, init), env, context)).status
}

const all = routes.flatMap(({ path, who, methods }) => methods.map(({ method }) => [method, path, who] as const))
const under = (prefix: string) => all.filter(([, path]) => path.startsWith(prefix))
const named = (who: string) => all.filter(([, , guard]) => guard === who)

test('every endpoint that is served stands in the table', () => {
  const served = app.routes.filter(({ method }) => method !== 'ALL').map(({ method, path }) => `${method} ${path}`)
  expect(served.toSorted()).toEqual(all.map(([method, path]) => `${method} ${path}`).toSorted())
})

describe('under /admin', () => {
  test.each(under('/admin/'))('%s %s is an operator’s alone', async (method, path, who) => {
    expect(who).toBe('operator')
    expect(await statusOf(method, path)).toBe(401)
    expect(await statusOf(method, path, createKey())).toBe(401)
    expect(await statusOf(method, path, `${ADMIN_KEY}x`)).toBe(401)
  })
})

describe('under /v1', () => {
  test.each(under('/v1/'))('%s %s asks for a key of an account', async (method, path, who) => {
    expect(who).toBe('key')
    expect(await statusOf(method, path)).toBe(401)
    expect(await statusOf(method, path, ADMIN_KEY)).toBe(401)
  })
})

test('the metrics are open to their token alone', async () => {
  expect(named('monitor').map(([, path]) => path)).toEqual(['/metrics'])
  for (const key of [undefined, createKey(), ADMIN_KEY, `${METRICS_TOKEN}x`])
    expect(await statusOf('GET', '/metrics', key)).toBe(401)
  expect(await statusOf('GET', '/metrics', METRICS_TOKEN)).toBe(500) // let in: the database was asked
})

test('what others than accounts and operators may ask is known', () => {
  expect(named('anybody').map(([, path]) => path)).toEqual([
    '/livez',
    '/readyz',
    '/healthz',
    '/healthz/ledger',
    '/.well-known/receipt-keys.json',
    '/.well-known/ticket-keys.json',
    '/openapi.json',
    '/docs',
    '/docs/reference.js',
    '/docs/scalar.js',
  ])
  expect(named('node').map(([, path]) => path)).toEqual([
    '/internal/sync',
    '/internal/jobs/take',
    '/internal/jobs/report',
    '/internal/jobs/reports',
  ])
  expect(named('stripe').map(([, path]) => path)).toEqual(['/stripe/webhook'])
})

test('a report that no node signed is refused', async () => {
  for (const path of ['sync', 'jobs/take', 'jobs/report'])
    expect(await statusOf('POST', `/internal/${path}`, ADMIN_KEY)).toBe(401)
})

test('what is open to others than it should be does not compile', () => {
  // @ts-expect-error: under /admin only the operator
  route('/admin/anything', anybody, {})
  // @ts-expect-error: under /admin only the operator
  route('/admin/anything', key('admin'), {})
  // @ts-expect-error: under /v1 only keys
  route('/v1/anything', operator, {})
  // @ts-expect-error: no role is named
  route('/admin/anything', operator, { GET: listPrices })
  route('/admin/anything', operator, { GET: needs('read', listPrices) })
  // @ts-expect-error: nobody is named
  expect(() => route('/anything', {})).toThrow()
})
