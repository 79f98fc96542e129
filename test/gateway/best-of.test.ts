// The best of several answers to a chat, as a model that judges has it: what is given, what is charged, and what happens where nobody judges.

import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { ChatCompletion } from '../../contract/public/openai.ts'
import { CATALOG, publishCatalog, readCatalog } from '../../local/catalog.ts'
import { type CannedNode, startCannedNode } from '../support/canned-node.ts'
import { type Caller, errorOf, model, startTestGateway, type TestGateway } from '../support/gateway.ts'
import { ledgerFindings } from '../support/postgres.ts'
import { eventually } from '../support/stack.ts'

const JUDGE = 'Ziya-LLaMA-7B-Reward'
const messages = [
  { role: 'system', content: 'be brief' },
  { role: 'user', content: 'first' },
  { role: 'assistant', content: 'yes' },
  { role: 'user', content: 'Sort a list.' },
]
const body = { model, messages, max_tokens: 4, best_of: 4, reward_model: JUDGE }

let gateway: TestGateway
let judge: CannedNode
let caller: Caller

beforeAll(async () => {
  gateway = await startTestGateway()
  judge = await startCannedNode({ ...gateway.node_options, model: JUDGE, node_id: 'judge' })
  caller = await gateway.newCaller()
})
afterAll(async () => {
  await judge?.stop()
  await gateway?.stop()
})
afterEach(async () => {
  for (const node of [gateway.node, judge]) node.calm()
  await settled()
  expect(await ledgerFindings(gateway.db.sql, [caller.account_id])).toEqual([])
})

const ask = (more: object = {}, init?: RequestInit) => caller.post('/v1/chat/completions', { ...body, ...more }, init)
const given = async (answer: Response) => (await answer.json()) as ChatCompletion

async function settled(): Promise<void> {
  await eventually(async () => {
    const [row] = await gateway.db
      .sql`select pending_nanousd::text as held from accounts where id = ${caller.account_id}`
    return row!.held === '0' ? true : null
  })
}

async function receiptOf(request_id: string): Promise<Record<string, unknown>> {
  await settled()
  return (await (await caller.get(`/v1/usage/${request_id}`)).json()) as Record<string, unknown>
}

test('the best is given, what judged is told, and all that was written and read is charged', async () => {
  gateway.node.options.says = (index) => `answer ${index}`
  const answer = await ask({ metadata: { team: 'a' } })
  expect(answer.status).toBe(200)
  const { choices, usage, ranked_by } = await given(answer)
  expect(choices).toMatchObject([{ index: 0, message: { content: 'answer 3' } }]) // the value of each is its place
  expect(ranked_by).toMatchObject({ model: JUDGE, scores: [3, 2, 1, 0] })
  const read = judge.accepted.at(-1)!
  expect(read.ticket.prompt_tokens_max).toBe(4 * 2048) // of each answer as much as its context has room for
  expect(read.request.prompts).toEqual(
    [0, 1, 2, 3].map((index) => [{ judged: { query: 'Sort a list.', answer: `answer ${index}` } }]),
  )
  const own = await receiptOf(answer.headers.get('x-request-id')!)
  expect(own).toMatchObject({ model, state: 'posted', completion_tokens: usage.completion_tokens })
  expect(await receiptOf(ranked_by!.request_id)).toMatchObject({
    model: JUDGE,
    state: 'posted',
    prompt_tokens: ranked_by!.prompt_tokens,
    metadata: { team: 'a' },
  })
})

test('several are given in the order of the judge', async () => {
  gateway.node.options.says = (index) => `answer ${index}`
  const { choices } = await given(await ask({ n: 3 }))
  expect(choices.map(({ index, message }) => [index, message.content])).toEqual([
    [0, 'answer 3'],
    [1, 'answer 2'],
    [2, 'answer 1'],
  ])
})

test('the catalog names a judge for a model, and then nobody else has to', async () => {
  const rows = readCatalog(CATALOG).map((row) => (row.id === model ? { ...row, judged_by: JUDGE } : row))
  await publishCatalog(gateway.db.url, { models: rows, source: 'operator', by: 'the tests' })
  await eventually(async () => {
    const answer = await ask({ reward_model: null })
    if (answer.status !== 200) return null
    expect((await given(answer)).ranked_by).toMatchObject({ model: JUDGE })
    return true
  })
  await publishCatalog(gateway.db.url, { models: readCatalog(CATALOG), source: 'operator', by: 'the tests' })
  await eventually(async () => ((await ask({ reward_model: null })).status === 400 ? true : null)) // for those behind it
})

describe('nothing is charged', () => {
  const charged = async () => {
    await settled()
    const [row] = await gateway.db
      .sql`select debited_nanousd::text as all from accounts where id = ${caller.account_id}`
    return row!.all
  }

  test('where nobody judges: no answer is asked for', async () => {
    const before = await charged()
    await gateway.admin('/admin/nodes/judge', { drain: true }, 'PATCH')
    const count = gateway.node.accepted.length
    expect(await errorOf(await ask())).toMatchObject({ status: 503, code: 'model_unavailable' })
    await gateway.admin('/admin/nodes/judge', { drain: false }, 'PATCH')
    expect(gateway.node.accepted.length).toBe(count)
    expect(await charged()).toBe(before)
  })

  test('where there is no answer: the judge gives back what it held', async () => {
    const before = await charged()
    gateway.node.options.refuse = 'overloaded'
    expect((await errorOf(await ask())).status).toBe(503)
    expect(await charged()).toBe(before)
  })

  test.each<[string, object, string, string]>([
    ['a stream', { stream: true }, 'unsupported_parameter', 'stream'],
    ['a chat that is stored', { store: true }, 'unsupported_parameter', 'store'],
    ['more than there are', { n: 5 }, 'invalid_value', 'best_of'],
    ['a judge that is none', { reward_model: model }, 'invalid_value', 'reward_model'],
    ['a judge that nobody knows', { reward_model: 'x' }, 'model_not_found', 'reward_model'],
    ['no judge', { reward_model: null }, 'unknown_parameter', 'best_of'],
    ['a judge of nothing', { best_of: null }, 'unknown_parameter', 'reward_model'],
  ])('for %s', async (_, more, code, param) => {
    const before = await charged()
    expect(await errorOf(await ask(more))).toMatchObject({
      status: code === 'model_not_found' ? 404 : 400,
      code,
      param,
    })
    expect(await charged()).toBe(before)
  })

  test('with an Idempotency-Key: two requests are not one', async () => {
    const refused = await errorOf(await ask({}, { headers: { 'idempotency-key': 'k' } }))
    expect(refused).toMatchObject({ status: 400, param: 'Idempotency-Key' })
  })
})

test('answers that the judge does not take are given as they came', async () => {
  judge.options.refuse = 'context_length_exceeded'
  gateway.node.options.says = (index) => `answer ${index}`
  const answer = await ask({ n: 2 })
  const { choices, ranked_by } = await given(answer)
  expect(ranked_by).toBeNull()
  expect(choices.map(({ message }) => message.content)).toEqual(['answer 0', 'answer 1'])
})
