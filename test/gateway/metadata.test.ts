// The metadata of a request: kept with its usage, given back, and what reports are grouped and filtered by; in no log.

import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Caller, errorOf, model, startWithCaller, type TestGateway } from '../support/gateway.ts'
import { eventually } from '../support/patience.ts'

let gateway: TestGateway
let caller: Caller

beforeAll(async () => {
  ;[gateway, caller] = await startWithCaller()
})
afterAll(() => gateway?.stop())

const CHAT = '/v1/chat/completions'
const body = { model, messages: [{ role: 'user', content: 'q' }], max_tokens: 4 }

/** The requests' ids, once all are settled. */
async function asked(by: Caller, ...all: object[]): Promise<string[]> {
  const ids: string[] = []
  for (const more of all) {
    const answer = await by.post(CHAT, { ...body, ...more })
    expect(answer.status, await answer.text()).toBe(200)
    ids.push(answer.headers.get('x-request-id')!)
  }
  for (const id of ids) await eventually(async () => (await usageOf(by, id)).state === 'posted' || null)
  return ids
}

type Usage = { state: string; metadata: object; cost_nanousd: string }
const usageOf = async (by: Caller, id: string) => (await (await by.get(`/v1/usage/${id}`)).json()) as Usage

interface Report {
  data: { metadata?: Record<string, string | null>; requests: number; net_nanousd: string; day?: string }[]
  is_limited?: boolean
}
const report = async (by: Caller, query: string) => (await (await by.get(`/v1/usage?${query}`)).json()) as Report

describe('metadata', () => {
  test('stand on the receipt and in lists, as they came', async () => {
    const metadata = { team: 'a', "it's\n写": '', run: 'x'.repeat(512), 'a.b,c=d': '{"e": "f"}' }
    const [id, plain, empty] = await asked(caller, { metadata }, {}, { metadata: {} })
    expect((await usageOf(caller, id!)).metadata).toEqual(metadata)
    const { data } = (await (await caller.get('/v1/usage')).json()) as { data: (Usage & { request_id: string })[] }
    const listed = new Map(data.map(({ request_id, metadata }) => [request_id, metadata]))
    expect([listed.get(id!), listed.get(plain!), listed.get(empty!)]).toEqual([metadata, {}, {}])
  })

  test('of completions and messages are kept likewise', async () => {
    const completion = await caller.post('/v1/completions', { model, prompt: 'x', max_tokens: 2, metadata: { a: 'b' } })
    const message = await caller.post('/v1/messages', { ...body, metadata: { user_id: 'u' } })
    for (const [answer, metadata] of [
      [completion, { a: 'b' }],
      [message, { user_id: 'u' }],
    ] as const) {
      expect(answer.headers.get('x-ignored-parameters')).toBe(null)
      expect((await usageOf(caller, answer.headers.get('x-request-id')!)).metadata).toEqual(metadata)
    }
    expect((await caller.post('/v1/messages', { ...body, metadata: { user_id: null } })).status).toBe(200)
  })

  test.each<[string, unknown, string]>([
    ['seventeen pairs', Object.fromEntries(Array.from({ length: 17 }, (_, i) => [`k${i}`, 'v'])), 'metadata'],
    ['a name too long', { ['k'.repeat(65)]: 'v' }, 'metadata'],
    ['a name that is none', { '': 'v' }, 'metadata'],
    ['a value too long', { k: 'v'.repeat(513) }, 'metadata.k'],
    ['a value that is no text', { k: 1 }, 'metadata.k'],
    ['a value that cannot be kept', { k: 'a\0' }, 'metadata.k'],
    ['a name that cannot be kept', { 'a\ud800': 'v' }, 'metadata'],
    ['a list', ['a'], 'metadata'],
  ])('with %s are refused', async (_, metadata, param) => {
    const { status, param: named } = await errorOf(await caller.post(CHAT, { ...body, metadata }))
    expect([status, named?.startsWith(param)]).toEqual([400, true])
  })

  test('are in no log', async () => {
    const word = `word${randomUUID()}`
    await asked(caller, { metadata: { [word]: word } })
    await caller.get(`/v1/usage?group_by=metadata.${word}&metadata=${word}%3D${word}`)
    await errorOf(await caller.post(CHAT, { ...body, metadata: { [word]: 1 } }))
    expect(gateway.log.join('\n')).not.toContain(word)
  })
})

describe('a report', () => {
  let own: Caller
  beforeAll(async () => {
    own = await gateway.newCaller()
    const of = (team: string, more: object = {}) => ({ metadata: { team, ...more } })
    await asked(own, of('a'), of('a', { env: 'x' }), of("b'\\,写"), { metadata: { env: 'x' } }, {})
  })
  const counts = ({ data }: Report, name: string) => data.map((row) => [row.metadata?.[name], row.requests])

  test('by a name has a row of each value, and one of what has none', async () => {
    const all = await report(own, 'group_by=metadata.team')
    expect(counts(all, 'team')).toEqual([
      ['a', 2],
      ["b'\\,写", 1],
      [null, 2],
    ])
    expect(all.is_limited).toBe(false)
    const whole = await report(own, 'group_by=day')
    const sum = ({ data }: Report) => data.reduce((sum, row) => sum + BigInt(row.net_nanousd), 0n)
    expect(sum(all)).toBe(sum(whole))
    expect(counts(await report(own, 'group_by=metadata.nothing'), 'nothing')).toEqual([[null, 5]])
    const wide = await report(own, 'group_by=day,metadata.env,model,key,tag')
    expect(counts(wide, 'env')).toEqual([
      ['x', 2],
      [null, 3],
    ])
  })

  test('of one value has what has it alone', async () => {
    const one = await report(own, 'group_by=day&metadata=team%3Da')
    expect(one.data.map(({ requests }) => requests)).toEqual([2])
    expect(one.data[0]).not.toHaveProperty('metadata')
    expect(counts(await report(own, 'group_by=metadata.team&metadata=team%3Da'), 'team')).toEqual([['a', 2]])
    expect((await report(own, 'group_by=model&metadata=team%3Dnobody')).data).toEqual([])
    expect((await report(caller, 'group_by=model&metadata=team%3Db')).data).toEqual([]) // another's
  })

  test('is CSV as well, and an operator’s', async () => {
    const csv = await (await own.get('/v1/usage?group_by=metadata.env&format=csv')).text()
    expect(csv.split(/\r?\n/).slice(0, 2)).toEqual([
      'metadata.env,requests,prompt_tokens,cached_tokens,completion_tokens,cost_nanousd,refunded_nanousd,net_nanousd',
      expect.stringMatching(/^x,2,10,/),
    ])
    const path = `/admin/usage?account_id=${own.account_id}&by=metadata.env`
    const seen = (await (await gateway.admin(path, undefined, 'GET')).json()) as Report
    expect(counts(seen, 'env')).toEqual([
      ['x', 2],
      [null, 3],
    ])
  })

  test.each([
    ['group_by=metadata.a,metadata.b', 'group_by'],
    ['group_by=metadata.a&metadata=b%3Dc', 'group_by'],
    ['group_by=metadata.', 'group_by'],
    ['group_by=day&metadata=b', 'metadata'],
  ])('by %s is refused', async (query, param) => {
    expect(await errorOf(await own.get(`/v1/usage?${query}`))).toMatchObject({ status: 400, param })
  })
})
