// Batches on the whole service, by the official client: from a file to answers, each billed once, whoever dies in their course.

import { readFileSync } from 'node:fs'
import { toFile } from 'openai'
import type { Batch } from 'openai/resources/batches'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { draws } from '../support/draws.ts'
import { seededRandom } from '../support/random.ts'
import {
  type Customer,
  embeddedModel,
  eventually,
  newCustomer,
  startTestStack,
  type TestStack,
} from '../support/stack.ts'

const model = 'ziya-coding-mini'
const LINES = draws('BATCH_LINES', { few: 24, all: 2000 })
const KILLS = draws('BATCH_KILLS', { few: 2, all: 10 })
const random = seededRandom()

let stack: TestStack
let customer: Customer

beforeAll(async () => {
  stack = await startTestStack(embeddedModel, { ZIYA_NODE_JOB_PACE_MS: '20' })
  customer = await newCustomer(stack)
})
afterAll(async () => {
  if (process.env.DEBUG_BATCH) console.log(stack.gatewayLog())
  await stack?.stop()
})

interface Line {
  custom_id: string
  method: string
  url: string
  body: object
}

interface Written {
  id: string
  custom_id: string
  response: { status_code: number; request_id: string; body: Record<string, unknown> } | null
  error: { code: string; message: string } | null
}

type Path = '/v1/chat/completions' | '/v1/completions' | '/v1/responses'

const BODIES: Record<Path, (n: number) => object> = {
  '/v1/chat/completions': (n) => ({ model, max_tokens: 2, messages: [{ role: 'user', content: `sort ${n}` }] }),
  '/v1/completions': (n) => ({ model, max_tokens: 2, prompt: `def sort_${n}(` }),
  '/v1/responses': (n) => ({ model, max_output_tokens: 2, input: `sort ${n}` }),
}

const lineOf = (n: number, url: Path = '/v1/chat/completions', changes: object = {}): Line => ({
  custom_id: `line ${n}`,
  method: 'POST',
  url,
  body: { ...BODIES[url](n), ...changes },
})

const upload = async (lines: (Line | string)[], client = customer.client) => {
  const text = lines.map((line) => (typeof line === 'string' ? line : JSON.stringify(line))).join('\n')
  return client.files.create({ file: await toFile(Buffer.from(text), 'lines.jsonl'), purpose: 'batch' })
}

async function create(lines: (Line | string)[], endpoint: Path = '/v1/chat/completions', by = customer.client) {
  const { id } = await upload(lines, by)
  return by.batches.create({ input_file_id: id, endpoint, completion_window: '24h', metadata: { of: 'the test' } })
}

const ENDED = ['completed', 'failed', 'expired', 'cancelled']

async function ended({ id }: Batch, by = customer.client): Promise<Batch> {
  const { value } = await eventually(async () => {
    const batch = await by.batches.retrieve(id)
    if (process.env.DEBUG_BATCH) console.log(JSON.stringify(await stack.sql`select state, read_lines, errors, lease, due_at - clock_timestamp() as due, (select jsonb_agg(l.state) from batch_lines l where batch_id = b.id) as lines, (select jsonb_agg(jsonb_build_object('s', state, 'e', error, 'a', attempts)) from jobs) as jobs from batches b`))
    return ENDED.includes(batch.status) ? batch : null
  }, process.env.DEBUG_BATCH ? 20_000 : undefined)
  return value
}

async function written(file_id: string | null | undefined): Promise<Written[]> {
  if (!file_id) return []
  const text = await (await customer.client.files.content(file_id)).text()
  return text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Written)
}

const numbersOf = (lines: Written[]) => lines.map(({ custom_id }) => Number(custom_id.slice(5))).sort((a, b) => a - b)
const numbers = (count: number) => Array.from({ length: count }, (_, n) => n)

const eventsOf = async ({ id }: Batch) => {
  const rows = await stack.sql`select type from outbox where body::jsonb -> 'data' ->> 'id' = ${id}`
  return rows.map(({ type }) => type as string)
}

test.each<Path>(['/v1/chat/completions', '/v1/completions', '/v1/responses'])(
  'a batch of %s is run, answered line by line as the endpoint would, and billed once',
  async (path) => {
    const batch = await create(
      numbers(3).map((n) => lineOf(n, path)),
      path,
    )
    expect(batch).toMatchObject({ object: 'batch', status: 'validating', endpoint: path, metadata: { of: 'the test' } })
    const done = await ended(batch)
    expect(done).toMatchObject({ status: 'completed', model, errors: null, error_file_id: null })
    expect(done.request_counts).toEqual({ total: 3, completed: 3, failed: 0 })
    const lines = await written(done.output_file_id)
    expect(numbersOf(lines)).toEqual(numbers(3))
    for (const { custom_id, response, error, id } of lines) {
      expect(error).toBeNull()
      expect(id).toMatch(/^batch_req_[0-9a-f]{32}$/)
      const direct = await customer.fetch(path, {
        method: 'POST',
        body: JSON.stringify({ ...BODIES[path](Number(custom_id.slice(5))), service_tier: 'flex' }),
      })
      const told = (await direct.json()) as Record<string, unknown>
      expect(Object.keys(response!.body).sort()).toEqual(Object.keys(told).sort())
      const usage = await stack.sql`select * from usage where request_id = ${response!.request_id}`
      expect(usage).toHaveLength(1)
    }
    const bodies = lines.map(({ response }) => response!.body as { usage: { total_tokens: number } })
    expect(done.usage!.total_tokens).toBe(bodies.reduce((sum, { usage }) => sum + usage.total_tokens, 0))
    expect(await eventsOf(batch)).toEqual(['batch.completed'])
  },
)
