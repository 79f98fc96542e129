// Statements, and what becomes of a read that fails. Lists of other things are read in the same way.

import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import type { Entry } from '../../contract/public/entry.ts'
import * as shapes from '../../contract/public/entry.ts'
import { type Caller, callerOf, errorOf, model, startTestGateway, type TestGateway } from '../support/gateway.ts'

interface Page {
  object: string
  data: Entry[]
  has_more: boolean
  last_id: string | null
}

let gateway: TestGateway
let owner: Caller
let stranger: Caller
let request_id: string

beforeAll(async () => {
  gateway = await startTestGateway()
  owner = await gateway.newCaller()
  stranger = await gateway.newCaller()
  const answer = await owner.post('/v1/completions', { model, prompt: 'x', max_tokens: 1 })
  request_id = answer.headers.get('x-request-id')!
  await answer.text()
  const settled = async () => (await (await owner.get(`/v1/usage/${request_id}`)).json()) as { state: string }
  await vi.waitFor(async () => expect((await settled()).state).toBe('posted'), 20_000)
  for (const [reference, direction] of [
    ['thanks', 'credit'],
    ['fee', 'debit'],
  ]) {
    const adjustment = { account_id: owner.account_id, amount_nanousd: '7', reference, direction }
    expect((await gateway.admin('/admin/adjustments', adjustment)).status).toBe(201)
  }
})
afterAll(() => gateway?.stop())

const pageOf = async (caller: Caller, query = '') => (await (await caller.get(`/v1/entries${query}`)).json()) as Page
const operatorsPage = async (query: string) =>
  (await (await gateway.admin(`/admin/entries?${query}`, undefined, 'GET')).json()) as Page

test('every line that moved money is there, the newest first, numbered without gaps', async () => {
  const { object, data, has_more, last_id } = await pageOf(owner)
  expect(data.map((entry) => shapes.entry.parse(entry))).toEqual(data)
  expect({ object, has_more, last_id }).toEqual({ object: 'list', has_more: false, last_id: data.at(-1)!.id })
  expect(data.map(({ sequence, kind, reference, request_id }) => [sequence, kind, reference, request_id])).toEqual([
    [4, 'adjustment_debit', 'fee', null],
    [3, 'adjustment_credit', 'thanks', null],
    [2, 'usage', null, request_id],
    [1, 'top_up', expect.any(String), null],
  ])
  expect(data.map(({ amount_nanousd }) => amount_nanousd).filter((amount) => amount === '7')).toHaveLength(2)
  const { balance_nanousd } = (await (await owner.get('/v1/balance')).json()) as { balance_nanousd: string }
  const [fee, thanks, usage, top_up] = data.map(({ amount_nanousd }) => BigInt(amount_nanousd))
  expect(top_up! - usage! + thanks! - fee!).toBe(BigInt(balance_nanousd))
})

test('pages go on where the last one ended', async () => {
  const all = await pageOf(owner)
  const first = await pageOf(owner, '?limit=3')
  expect(first).toEqual({ object: 'list', data: all.data.slice(0, 3), has_more: true, last_id: all.data[2]!.id })
  const second = await pageOf(owner, `?limit=3&after=${first.last_id}`)
  expect(second).toEqual({ object: 'list', data: all.data.slice(3), has_more: false, last_id: all.data[3]!.id })
})

test('an account sees its own lines alone, also from a place in another’s', async () => {
  const [own] = (await pageOf(stranger)).data
  expect((await pageOf(stranger)).data).toHaveLength(1)
  expect((await pageOf(owner, `?after=${own!.id}`)).data).toEqual([])
  expect(await errorOf(await owner.get(`/v1/entries?account_id=${stranger.account_id}`))).toMatchObject({
    status: 400,
    code: 'unknown_parameter',
  })
})

test('the operator reads the statement of any account, and of none that there is not', async () => {
  expect(await operatorsPage(`account_id=${owner.account_id}`)).toEqual(await pageOf(owner))
  for (const [query, status] of [
    ['', 400],
    ['?account_id=999999', 404],
  ] as const)
    expect((await gateway.admin(`/admin/entries${query}`, undefined, 'GET')).status).toBe(status)
})

test('a key that was revoked reads nothing', async () => {
  const made = await gateway.admin('/admin/keys', { account_id: owner.account_id, name: 'k', scopes: ['admin'] })
  const { id, key } = (await made.json()) as { id: string; key: string }
  const revoked = callerOf(gateway.url, { ...owner, key_id: id, api_key: key })
  const paths = ['/v1/entries', '/v1/keys', '/v1/invoices', '/v1/usage?group_by=day']
  for (const path of paths) expect([path, (await revoked.get(path)).status]).toEqual([path, 200])
  await gateway.admin(`/admin/keys/${id}`, undefined, 'DELETE')
  for (const path of paths) expect([path, (await revoked.get(path)).status]).toEqual([path, 401])
})

describe('a read that fails', () => {
  const own = ['/v1/entries', '/v1/invoices', '/v1/usage?group_by=day']
  const operators = () => [
    '/admin/accounts',
    '/admin/prices',
    '/admin/anomalies',
    `/admin/keys?account_id=${owner.account_id}`,
  ]

  test('is a 503 of ours that says nothing of the database, and what needs no view goes on', async () => {
    await gateway.db.sql`revoke usage on schema read from ziya_reader`
    const answers = [
      ...(await Promise.all(own.map((path) => owner.get(path)))),
      ...(await Promise.all(operators().map((path) => gateway.admin(path, undefined, 'GET')))),
    ]
    for (const answer of answers) {
      const { status, code, message } = await errorOf(answer)
      expect({ status, code }).toEqual({ status: 503, code: 'database_unavailable' })
      expect(message).not.toMatch(/permission|schema|select|list_/)
    }
    expect((await owner.get('/v1/balance')).status).toBe(200)
    expect(gateway.log.join('\n')).toContain('list_entries refused (42501)')
    expect(gateway.log.join('\n')).not.toMatch(/params:|Failed query/)
    await gateway.db.sql`grant usage on schema read to ziya_reader`
    for (const path of own) expect((await owner.get(path)).status).toBe(200)
  })

  test('is asked again on a new connection where the old one was lost', async () => {
    const [lost] = await gateway.db.sql`
      select count(pg_terminate_backend(pid))::int as count from pg_stat_activity where starts_with(usename, 'ziya_reader_')`
    expect(lost!.count).toBeGreaterThan(0)
    expect((await pageOf(owner)).data).toHaveLength(4)
  })
})
