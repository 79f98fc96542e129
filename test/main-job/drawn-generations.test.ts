// Generations that are drawn and spoiled, through the whole service to the engine: none has an answer of 500 and more, the node lives,
// and each is settled.

import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { DOCUMENT } from '../../local/openapi.ts'
import { sendDrawn } from '../support/drawn-answers.ts'
import { type ApiDocument, RequestDrawer } from '../support/drawn-requests.ts'
import { draws } from '../support/draws.ts'
import { ledgerFindings } from '../support/postgres.ts'
import { seededRandom } from '../support/random.ts'
import { eventually, newCustomer, nodeStatus, startTestStack, type TestStack } from '../support/stack.ts'

const REQUESTS = draws('DRAWN_GENERATIONS', { few: 120, all: 4_000 })
const GENERATES = /^\/v1\/(completions|chat\/completions|messages|tokenize|detokenize|estimate)/

let stack: TestStack

beforeAll(async () => {
  stack = await startTestStack()
})
afterAll(() => stack?.stop())

test(`${REQUESTS} drawn generations are answered by the engine, and settled`, async () => {
  const random = seededRandom()
  const all = JSON.parse(readFileSync(DOCUMENT, 'utf8')) as ApiDocument
  const paths = Object.fromEntries(Object.entries(all.paths).filter(([path]) => GENERATES.test(path)))
  const customer = await newCustomer(stack, '1000000000000')
  const few = [1, 2, 3, 8, 20]
  const known = {
    model: ['ziya-coding-mini'],
    max_tokens: few,
    max_completion_tokens: few,
    n: [1, 2],
    stream: [false, true],
  }
  const drawer = new RequestDrawer({ ...all, paths }, random, known, 0.3)
  const statuses = await sendDrawn(stack.gateway_url, drawer, REQUESTS, 8, () => customer.api_key)
  console.log(JSON.stringify(statuses))
  expect(statuses['200']).toBeGreaterThan(0)
  await eventually(async () => ((await nodeStatus(stack)).running === 0 ? true : null))
  await eventually(async () => {
    const [{ count }] =
      (await stack.sql`select count(*)::int as count from reservations where state = 'pending'`) as unknown as [
        { count: number },
      ]
    return count === 0 ? true : null
  })
  expect(await ledgerFindings(stack.sql, [customer.account_id])).toEqual([])
})
