// A limit of N and N connections, each of which asks again when it has its answer: none is ever refused, because what an answer held is
// free before its client learns that it has ended. On the real node. IN_FLIGHT_REQUESTS=20000 is the whole case.

import { Agent, request } from 'node:http'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { draws } from '../support/draws.ts'
import { embeddedModel, newCustomer, startTestStack, type TestStack } from '../support/stack.ts'

const REQUESTS = draws('IN_FLIGHT_REQUESTS', { few: 64, all: 2000 })

let stack: TestStack

beforeAll(async () => {
  stack = await startTestStack(embeddedModel)
})
afterAll(() => stack?.stop())

const body = { model: 'ziya-coding-mini', prompt: 'a', max_tokens: 1 }

/** `count` requests over so many connections, by status. */
async function asked(api_key: string, { at_once, count, stream }: { at_once: number; count: number; stream: boolean }) {
  const agent = new Agent({ keepAlive: true, maxSockets: at_once })
  const statuses: Record<number, number> = {}
  let left = count
  const one = async () => {
    for (; left > 0; ) {
      left -= 1
      const status = await post(agent, api_key, JSON.stringify({ ...body, stream }))
      statuses[status] = (statuses[status] ?? 0) + 1
    }
  }
  await Promise.all(Array.from({ length: at_once }, one))
  agent.destroy()
  return statuses
}

function post(agent: Agent, api_key: string, text: string): Promise<number> {
  const headers = { authorization: `Bearer ${api_key}`, 'content-type': 'application/json' }
  return new Promise((resolve, reject) => {
    const asking = request(`${stack.gateway_url}/v1/completions`, { method: 'POST', agent, headers }, (answer) => {
      answer.resume().on('end', () => resolve(answer.statusCode!))
    })
    asking.on('error', reject).end(text)
  })
}

describe.each([1, 16, 64])('a limit of %i', (limit) => {
  test.each([false, true])(
    `(streaming: %s) refuses none of ${REQUESTS} requests of as many connections`,
    async (stream) => {
      const { api_key, key_id } = await newCustomer(stack)
      await stack.sql`update keys set requests_in_flight_max = ${limit} where id = ${key_id}`
      expect(await asked(api_key, { at_once: limit, count: REQUESTS, stream })).toEqual({ 200: REQUESTS })
    },
    60_000 + 100 * REQUESTS,
  )
})

test('money for exactly one request is enough for one after the other', async () => {
  const { api_key, account_id } = await newCustomer(stack)
  const one = () => asked(api_key, { at_once: 1, count: 1, stream: false })
  await one()
  const [row] = await stack.sql`select amount_nanousd from reservations where account_id = ${account_id}`
  for (let i = 0; i < Math.min(REQUESTS, 1000); i += 1) {
    await stack.sql`update accounts set overdraft_nanousd = debited_nanousd + ${row!.amount_nanousd}::bigint, credited_nanousd = 0
      where id = ${account_id}`
    expect(await one()).toEqual({ 200: 1 })
  }
})
