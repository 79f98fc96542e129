// Batches on the whole service, by the official client: from a file to answers, each billed once, whoever dies in their course.

import { toFile } from 'openai'
import type { Batch } from 'openai/resources/batches'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { draws } from '../support/draws.ts'
import { type HeldSteps, holdSteps } from '../support/held-steps.ts'
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
const LINES = draws('BATCH_LINES', { few: 16, all: 2000 })
const KILLS = draws('BATCH_KILLS', { few: 1, all: 10 })
const random = seededRandom()

let stack: TestStack
let steps: HeldSteps
let customer: Customer

beforeAll(async () => {
  steps = holdSteps()
  stack = await startTestStack(embeddedModel, { ...steps.environment, ZIYA_NODE_JOB_PACE_MS: '20' })
  stack.keepUp(() => {})
  customer = await newCustomer(stack)
})
afterAll(async () => {
  await stack?.stop()
  steps?.remove()
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
    return ENDED.includes(batch.status) ? batch : null
  })
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

test.concurrent.each<Path>(['/v1/chat/completions', '/v1/completions', '/v1/responses'])(
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
        body: JSON.stringify(BODIES[path](Number(custom_id.slice(5)))),
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

interface Receipt {
  service_tier: string
  prompt_tokens: number
  completion_tokens: number
  cost_nanousd: string
}

const receiptOf = async ({ response }: Written) =>
  (await (await customer.fetch(`/v1/usage/${response!.request_id}`)).json()) as Receipt

const publishFlex = () =>
  fetch(`${stack.gateway_url}/admin/prices`, {
    method: 'POST',
    headers: { authorization: `Bearer ${stack.admin_key}`, 'content-type': 'application/json' },
    body: JSON.stringify({
      model,
      service_tier: 'flex',
      input_nanousd_per_token: '10',
      output_nanousd_per_token: '30',
      account_id: customer.account_id,
    }),
  })

describe('a batch that is not well formed', () => {
  test('fails as a whole, with what is wrong with each line, and nothing of it is run', async () => {
    const wrong: [line: Line | string, fault: object][] = [
      ['{', { code: 'invalid_json' }],
      [JSON.stringify({ ...lineOf(100), extra: 1 }), { code: 'unknown_parameter', param: 'extra' }],
      [
        { ...lineOf(1), custom_id: '' },
        { code: 'invalid_value', param: 'custom_id' },
      ],
      [
        { ...lineOf(2), method: 'GET' },
        { code: 'invalid_value', param: 'method' },
      ],
      [lineOf(3, '/v1/completions'), { code: 'invalid_value', param: 'url' }],
      [lineOf(0), { code: 'duplicate_custom_id', param: 'custom_id' }],
      [lineOf(4, undefined, { stream: true }), { code: 'invalid_value', param: 'body.stream' }],
      [lineOf(5, undefined, { background: true }), { code: 'invalid_value', param: 'body.background' }],
      [lineOf(6, undefined, { temperature: 'hot' }), { code: 'invalid_type', param: 'body.temperature' }],
      [lineOf(7, undefined, { messages: undefined }), { code: 'missing_required_parameter', param: 'body.messages' }],
      [lineOf(8, undefined, { model: 'nobody' }), { code: 'model_not_found', param: 'body.model' }],
      [lineOf(9, undefined, { model: 'Ziya-Coding-34B-v1.0' }), { code: 'invalid_value', param: 'body.model' }],
      [lineOf(10, undefined, { user: 'x'.repeat(1 << 20) }), { code: 'body_too_large' }],
    ]
    const lines = [lineOf(0), ...wrong.map(([line]) => line), '', lineOf(200)]
    const done = await ended(await create(lines))
    expect(done).toMatchObject({ status: 'failed', output_file_id: null, error_file_id: null, in_progress_at: null })
    const faults = done.errors!.data!.toSorted((a, b) => a.line! - b.line!)
    expect(faults).toMatchObject(wrong.map(([, fault], at) => ({ ...fault, line: at + 2 })))
    expect(await eventsOf(done)).toEqual(['batch.failed'])
    expect(await ended(await create(['', '  ']))).toMatchObject({
      status: 'failed',
      errors: { data: [{ code: 'empty_file', line: null }] },
    })
  })

  test('is not made of a file that is not there, or for another endpoint', async () => {
    const stranger = await newCustomer(stack)
    const theirs = await upload([lineOf(0)], stranger.client)
    const make = (changes: object) =>
      customer.client.batches.create({
        input_file_id: theirs.id,
        endpoint: '/v1/chat/completions',
        completion_window: '24h',
        ...changes,
      })
    for (const [changes, code, param] of [
      [{}, 'unknown_file', 'input_file_id'],
      [{ input_file_id: 'file-x' }, 'invalid_value', 'input_file_id'],
      [{ endpoint: '/v1/embeddings' }, 'invalid_value', 'endpoint'],
      [{ completion_window: '1h' }, 'invalid_value', 'completion_window'],
    ] as const)
      await expect(make(changes)).rejects.toMatchObject({ status: 400, code, param })
  })
})

describe('a batch that is held in its middle', () => {
  const held = async (count: number) => {
    onTestFinished(() => steps.letGo()) // however it ends: others have the same node
    steps.allow(0)
    const batch = await create(numbers(count).map((n) => lineOf(n)))
    await eventually(async () => {
      const [row] = await stack.sql`
        select count(*)::int as running from jobs where kind = 'batch' and owner = ${batch.id.slice(6)} and state = 'running'`
      return row!.running > 0 ? true : null
    })
    return batch
  }

  /** Each line has one answer; those that were not begun say why. */
  const expectEachOnce = async (batch: Batch, count: number, code: string) => {
    const [answered, refused] = [await written(batch.output_file_id), await written(batch.error_file_id)]
    expect(numbersOf([...answered, ...refused])).toEqual(numbers(count))
    expect(answered.every(({ response }) => response?.status_code === 200)).toBe(true)
    expect(refused).toMatchObject(refused.map(() => ({ response: null, error: { code } })))
    expect(batch.request_counts).toEqual({ total: count, completed: answered.length, failed: refused.length })
    expect([answered.length > 0, refused.length > 0]).toEqual([code === 'batch_cancelled', true])
  }

  test('is cancelled, or expires: what runs is finished, and what was not begun is told', async () => {
    const left = await held(60)
    const late = await create(numbers(60).map((n) => lineOf(n))) // all that the node has room for is of the other
    await eventually(async () =>
      (await customer.client.batches.retrieve(late.id)).status === 'in_progress' ? true : null,
    )
    const ended_of = { cancelled: left, expired: late }
    await expect(customer.client.files.delete(left.input_file_id)).rejects.toMatchObject({ code: 'file_in_use' })
    expect((await customer.client.batches.cancel(left.id)).status).toBe('cancelling')
    await stack.sql`update batches set expires_at = clock_timestamp() where id = ${late.id.slice(6)}`
    // None of its lines is begun, so that its end may follow before it is asked about.
    await eventually(async () =>
      /finalizing|expired/.test((await customer.client.batches.retrieve(late.id)).status) ? true : null,
    )
    steps.letGo()
    for (const [status, batch] of Object.entries(ended_of)) {
      const done = await ended(batch)
      expect(done.status).toBe(status)
      await expectEachOnce(done, 60, `batch_${status}`)
      expect(await eventsOf(batch)).toEqual([`batch.${status}`])
      await expect(customer.client.batches.cancel(late.id)).rejects.toMatchObject({ code: 'batch_has_ended' })
    }
    await customer.client.files.delete(left.input_file_id)
  })
})

describe('whose money or rights end', () => {
  test('a batch waits for money, at the price for what can wait', async () => {
    await publishFlex()
    const poor = await newCustomer(stack, '100')
    const batch = await create([lineOf(0)], undefined, poor.client)
    await eventually(async () => {
      const [row] =
        await stack.sql`select due_at > clock_timestamp() + interval '5 seconds' as waits from batches where id = ${batch.id.slice(6)}`
      return row!.waits ? true : null
    })
    expect((await poor.client.batches.retrieve(batch.id)).status).toBe('in_progress')
    await stack.sql`update accounts set credited_nanousd = credited_nanousd + 1000000000 where id = ${poor.account_id}`
    await stack.sql`update batches set due_at = clock_timestamp()`
    expect(await ended(batch, poor.client)).toMatchObject({ status: 'completed', request_counts: { completed: 1 } })
    const done = await ended(await create([lineOf(0)]))
    const [line] = await written(done.output_file_id)
    const { service_tier, prompt_tokens, completion_tokens, cost_nanousd } = await receiptOf(line!)
    expect({ service_tier, cost_nanousd }).toEqual({
      service_tier: 'flex',
      cost_nanousd: String(prompt_tokens * 10 + completion_tokens * 30),
    })
  })

  test('lines of a key that is revoked are answered so', async () => {
    const gone = await newCustomer(stack)
    const batch = await create([lineOf(0), lineOf(1)], undefined, gone.client)
    await stack.sql`update keys set revoked_at = clock_timestamp() where id = ${gone.key_id}`
    const { value } = await eventually(async () => {
      const [row] = await stack.sql`select * from batches where id = ${batch.id.slice(6)} and completed_at is not null`
      return row ?? null
    })
    expect(value).toMatchObject({ completed_lines: 0, failed_lines: 2 })
  })
})

test(`a batch of ${LINES} lines whose processes are killed ${KILLS} times answers and bills each line once`, async () => {
  const own = await newCustomer(stack, '100000000000')
  steps.letGo()
  const batch = await create(
    numbers(LINES).map((n) => lineOf(n)),
    undefined,
    own.client,
  )
  const done = async () => {
    const batchNow = await own.client.batches.retrieve(batch.id).catch(() => null)
    return batchNow && batchNow.request_counts!.completed
  }
  for (let kill = 1; kill <= KILLS; kill += 1) {
    await eventually(async () => (((await done()) ?? 0) >= (LINES * kill) / (KILLS + 1) - 1 ? true : null))
    const victim = random.pick(['node', 'gateway', 'postgres'] as const)
    process.kill(stack[victim]!.pid, 'SIGKILL')
    await eventually(async () => ((await done()) === null ? null : true))
    await eventually(() =>
      stack.sql`update batches set leased_until = clock_timestamp()`.then(() => true).catch(() => null),
    )
  }
  const after = await ended(batch, own.client)
  expect(after).toMatchObject({ status: 'completed', request_counts: { total: LINES, completed: LINES, failed: 0 } })
  const text = await (await own.client.files.content(after.output_file_id!)).text()
  const lines = text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Written)
  expect(numbersOf(lines)).toEqual(numbers(LINES))
  const ids = lines.map(({ response }) => response!.request_id)
  await eventually(async () => {
    const [billed] = await stack.sql`
      select pending_nanousd as pending,
        (select count(*)::int from usage where request_id = any (string_to_array(${ids.join()}, ',')::uuid[])) as requests,
        (select sum(cost_nanousd) from usage where request_id = any (string_to_array(${ids.join()}, ',')::uuid[])) as costs,
        (select sum(case when kind in ('usage', 'late_usage') then amount_nanousd when kind = 'refund' then -amount_nanousd end)
          from entries e where e.account_id = a.id) as booked
      from accounts a where id = ${own.account_id}`
    // What an attempt was charged that nobody saw the end of is given back when it is known, and a node may still have to tell of some.
    const { pending, requests, costs, booked } = billed!
    return pending === '0' && requests === LINES && booked === costs ? true : null
  })
})
