// Jobs on the whole service: what is queued is run by a node that has room, ends once, is paid once, and outlives whoever dies.

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { ResponseBody } from '../../contract/public/responses.ts'
import {
  type Customer,
  embeddedModel,
  eventually,
  newCustomer,
  startTestStack,
  type TestStack,
} from '../support/stack.ts'

const model = 'ziya-coding-mini'
let stack: TestStack
let customer: Customer

beforeAll(async () => {
  stack = await startTestStack(embeddedModel, { ZIYA_NODE_JOB_PACE_MS: '20' })
  customer = await newCustomer(stack)
})
afterAll(() => stack?.stop())

const body = { model, input: 'def quicksort(', max_output_tokens: 48, seed: 7, temperature: 0.8, background: true }

async function create(changes: object = {}): Promise<ResponseBody> {
  const answer = await customer.fetch('/v1/responses', {
    method: 'POST',
    body: JSON.stringify({ ...body, ...changes }),
  })
  const text = await answer.text()
  expect(answer.status, text).toBe(200)
  return JSON.parse(text) as ResponseBody
}

const read = async (id: string) => (await (await customer.fetch(`/v1/responses/${id}`)).json()) as ResponseBody

async function ended(id: string): Promise<ResponseBody> {
  const open = ['queued', 'in_progress']
  const { value } = await eventually(async () => {
    const response = await read(id)
    return open.includes(response.status) ? null : response
  })
  return value
}

const requestIdOf = (id: string) => id.replace(/resp_(.{8})(.{4})(.{4})(.{4})(.{12})/, '$1-$2-$3-$4-$5')

describe('a response in the background', () => {
  test('is queued, run, stored and billed once', async () => {
    const queued = await create()
    expect(queued).toMatchObject({ status: 'queued', background: true, output: [] })
    const response = await ended(queued.id)
    expect(
      response.error,
      JSON.stringify(
        await stack.sql`select state, attempts, error, chunk_count, request_id, leased_until - now() as lease from jobs`,
      ),
    ).toBeNull()
    expect(response).toMatchObject({
      status: 'incomplete',
      background: true,
      store: true,
      created_at: queued.created_at,
    })
    expect(response.usage!.output_tokens).toBe(48)
    const usage = await stack.sql`select * from usage where request_id = ${requestIdOf(queued.id)}`
    expect(usage).toMatchObject([{ completion_tokens: '48', outcome: 'length' }])
    expect(await stack.sql`select type from outbox where type like 'response.%'`).toMatchObject([
      { type: 'response.incomplete' },
    ])
    // What waited says what who asks directly is told.
    const { background: _, ...asked } = body
    const direct = await customer.fetch('/v1/responses', { method: 'POST', body: JSON.stringify(asked) })
    const { output } = (await direct.json()) as ResponseBody
    expect(output[0]).toMatchObject({
      content: [{ text: (response.output[0] as { content: { text: string }[] }).content[0]!.text }],
    })
  })
})
