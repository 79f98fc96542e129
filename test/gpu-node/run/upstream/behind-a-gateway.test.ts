// A real engine behind an address: our own node behind our own gateway's face, in front of which another node stands. What comes through
// both is the same text, and what customers are billed is what the engine billed for it. It runs with `npm run test:all`, and by itself:
//   UPSTREAM_DRAWS=100 npm test -- test/gpu-node/run/upstream/behind-a-gateway.test.ts

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type ReceiptKey, verifyReceipt } from '../../../../contract/public/receipt.ts'
import { UpstreamRunner } from '../../../../gpu-node/run/upstream/runner.ts'
import { type Service, startService } from '../../../../gpu-node/service.ts'
import { registerNode } from '../../../../local/register-node.ts'
import { draws } from '../../../support/draws.ts'
import { framesOf, NODE_ID, textOf } from '../../../support/generate.ts'
import { nodeConfig } from '../../../support/native-runner.ts'
import { eventually } from '../../../support/patience.ts'
import { ledgerFindings } from '../../../support/postgres.ts'
import { type Random, seededRandom } from '../../../support/random.ts'
import { type Customer, newCustomer, startTestStack, type TestStack } from '../../../support/stack.ts'

/** What the engine serves, and under what name the node in front of it does; both have one template. */
const ENGINE = 'ziya-coding-mini'
const MODEL = 'Ziya-Coding-34B-v1.0'

const read = async <T>(answer: Promise<Response>) => (await (await answer).json()) as T

const DRAWS = draws('UPSTREAM_DRAWS', { few: 0, all: 100 })

const data_dir = mkdtempSync(join(tmpdir(), 'ziya-upstream-'))
let stack: TestStack
let engine: Customer // the account that the node is at the engine
let customer: Customer
let node: Service

beforeAll(async () => {
  stack = await startTestStack()
  engine = await newCustomer(stack, '100000000000')
  customer = await newCustomer(stack, '100000000000')
  const runner = await UpstreamRunner.connect({
    upstream: `${stack.gateway_url}/v1`,
    environment: { ZIYA_NODE_UPSTREAM_KEY: engine.api_key },
    dialect: 'vllm',
    model: ENGINE,
    context_tokens: undefined,
    vocabulary: null,
    choices_max: 100,
    silent_ms_max: 60_000,
    last_word_ms_max: 30_000,
    log: pino({ level: 'silent' }),
  })
  const { keys } = await read<{ keys: { x: string }[] }>(fetch(`${stack.gateway_url}/.well-known/ticket-keys.json`))
  const settings = { model_id: MODEL, data_dir, gateway_url: stack.gateway_url, ticket_keys: keys.map(({ x }) => x) }
  node = await startService({ config: nodeConfig(settings), runner, log: pino({ level: 'silent' }) })
  await registerNode(stack.database_url, { id: NODE_ID, url: node.url, model: MODEL, key: node.public_key })
  await eventually(async () => {
    const { nodes = {} } = await read<{ nodes?: Record<string, number> }>(fetch(`${stack.gateway_url}/healthz`))
    return nodes[MODEL] ? true : null
  })
})
afterAll(async () => {
  await node?.drain()
  await stack?.stop()
  rmSync(data_dir, { recursive: true, force: true })
})

interface Asked {
  path: '/v1/completions' | '/v1/chat/completions'
  body: Record<string, unknown>
}

function drawn(random: Random): Asked {
  const subject = random.pick(['quick sort', '快速排序', 'a queue', 'the sum of squares', 'fizz buzz'])
  const said = random.chance(0.5)
    ? { path: '/v1/chat/completions' as const, body: { messages: [{ role: 'user', content: `write ${subject}` }] } }
    : { path: '/v1/completions' as const, body: { prompt: `def ${subject.replaceAll(/\W/g, '_')}(` } }
  const sampling = random.chance(0.5) ? { temperature: 0 } : { temperature: 1, top_p: 0.9, seed: random.below(1e6) }
  const stop = random.chance(0.3) ? { stop: random.pick([['\n\n'], ['return', ':'], ['e']]) } : {}
  const usage = random.chance(0.5) ? { stream: true, stream_options: { include_usage: true } } : {}
  return { path: said.path, body: { ...said.body, ...sampling, ...stop, ...usage, max_tokens: 1 + random.below(24) } }
}

async function ask({ path, body }: Asked, model: string) {
  const response = await customer.fetch(path, { method: 'POST', body: JSON.stringify({ ...body, model }) })
  const text = await response.text()
  expect(response.status, text).toBe(200)
  const request_id = response.headers.get('x-request-id')!
  if (body.stream) {
    const usage = framesOf(text).findLast((frame) => frame !== '[DONE]' && frame.usage) as { usage: object }
    const ends = framesOf(text).flatMap((frame) => (frame === '[DONE]' ? [] : frame.choices))
    return { request_id, text: textOf(text), usage: usage.usage, finish: ends.findLast((end) => end.finish_reason) }
  }
  const { choices, usage } = JSON.parse(text)
  return { request_id, text: choices[0].message?.content ?? choices[0].text, usage, finish: choices[0] }
}

/** What an account was charged for, of a model, once nothing of it is open. */
async function billed({ account_id }: Customer, model: string) {
  const settled = async () => {
    const [row] = await stack.sql`
      select count(*) filter (where r.state = 'pending')::int as open, sum(prompt_tokens)::int as prompt_tokens,
        sum(completion_tokens)::int as completion_tokens
      from reservations r left join usage u using (request_id)
      where r.account_id = ${account_id} and r.model = ${model}`
    return row!.open === 0 ? { prompt_tokens: row!.prompt_tokens, completion_tokens: row!.completion_tokens } : null
  }
  return (await eventually(settled)).value
}

test.runIf(DRAWS > 0)(
  'a text is the same through both, and its bill is the engine’s',
  { timeout: 600_000 },
  async () => {
    const random = seededRandom()
    for (let i = DRAWS; i > 0; i--) {
      const asked = drawn(random)
      const [direct, through] = [await ask(asked, ENGINE), await ask(asked, MODEL)]
      const { prompt_tokens, completion_tokens } = direct.usage as { prompt_tokens: number; completion_tokens: number }
      expect(through.text, JSON.stringify(asked)).toBe(direct.text)
      expect(through.usage, JSON.stringify(asked)).toMatchObject({ prompt_tokens, completion_tokens })
      expect(through.finish?.finish_reason).toBe(direct.finish?.finish_reason)
      const receipt = await read<object>(customer.fetch(`/v1/usage/${through.request_id}`))
      expect(receipt).toMatchObject({ prompt_tokens, completion_tokens, usage_source: 'upstream' })
      const own = await read<object>(customer.fetch(`/v1/usage/${direct.request_id}`))
      expect(own).toMatchObject({ usage_source: 'engine' })
      const { keys } = await read<{ keys: ReceiptKey[] }>(customer.fetch('/.well-known/receipt-keys.json'))
      expect(await verifyReceipt(receipt, keys)).toBe(true)
    }
    expect(await billed(customer, MODEL)).toEqual(await billed(engine, ENGINE))
  },
)

test.runIf(DRAWS > 0)(
  'clients that leave are charged no more than the engine counted',
  { timeout: 600_000 },
  async () => {
    const random = seededRandom()
    const before = { ours: await billed(customer, MODEL), theirs: await billed(engine, ENGINE) }
    for (let i = DRAWS; i > 0; i--) {
      const leave = new AbortController()
      const asked = drawn(random)
      const body = JSON.stringify({ ...asked.body, model: MODEL, stream: true, stop: [], max_tokens: 200 })
      const response = await customer.fetch(asked.path, { method: 'POST', body, signal: leave.signal })
      const reader = response.body!.getReader()
      for (let left = 1 + random.below(4); left > 0; left--) await reader.read()
      leave.abort()
    }
    const ours = await billed(customer, MODEL)
    const theirs = await billed(engine, ENGINE)
    for (const count of ['prompt_tokens', 'completion_tokens'] as const)
      expect(ours[count] - before.ours[count]).toBeLessThanOrEqual(theirs[count] - before.theirs[count])
    expect(await ledgerFindings(stack.sql, [customer.account_id, engine.account_id])).toEqual([])
  },
)
