// What is billed when things go wrong: clients that leave, nodes that die, balances that end. Each history ends with the books.

import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { holdSteps } from '../support/held-steps.ts'
import { seededRandom } from '../support/random.ts'
import { readText } from '../support/read-text.ts'
import {
  type Customer,
  embeddedModel,
  eventually,
  newCustomer,
  nodeStatus,
  startTestStack,
  type TestStack,
} from '../support/stack.ts'

let stack: TestStack
const model = 'ziya-coding-mini'
// Random text that does not end by itself soon.
const endless = {
  model,
  messages: [{ role: 'user', content: 'Write a long program' }],
  temperature: 2,
  max_tokens: 900,
}

const steps = holdSteps()

beforeAll(async () => {
  stack = await startTestStack(embeddedModel, steps.environment)
})
afterEach(() => steps.letGo())
afterAll(async () => {
  await stack?.stop()
  steps.remove()
})

async function openStream(customer: Customer, signal?: AbortSignal, more: object = {}) {
  const body = JSON.stringify({ ...endless, ...more, stream: true })
  const response = await customer.fetch('/v1/chat/completions', { method: 'POST', body, signal: signal ?? null })
  expect(response.status).toBe(200)
  return { reader: response.body!.getReader(), request_id: response.headers.get('x-request-id')! }
}

async function settledUsage(request_id: string) {
  return eventually(async () => {
    const rows = await stack.sql`select prompt_tokens::int, completion_tokens::int, delivered_tokens::int, outcome
      from usage where request_id = ${request_id}`
    return rows[0] ?? null
  })
}

async function expectBooksToBalance() {
  const unbalanced = await stack.sql`
    select a.id from accounts a where credited_nanousd <> coalesce((select sum(amount_nanousd) from entries where account_id = a.id and kind = 'top_up'), 0)
      or debited_nanousd <> coalesce((select sum(amount_nanousd) from entries where account_id = a.id and kind in ('usage', 'late_usage')), 0)
      or pending_nanousd <> coalesce((select sum(amount_nanousd) from reservations where account_id = a.id and state = 'pending'), 0)
      or credited_nanousd < debited_nanousd`
  expect(unbalanced).toEqual([])
}

test('of 64 requests at once, a balance for 10 admits exactly 10', async () => {
  const body = JSON.stringify({ model, prompt: 'x', max_tokens: 20, temperature: 2 })
  const probe = await newCustomer(stack)
  await probe.fetch('/v1/completions', { method: 'POST', body })
  const [one] = await stack.sql`select amount_nanousd from reservations where account_id = ${probe.account_id}`
  const customer = await newCustomer(stack, String(BigInt(one!.amount_nanousd) * 10n))
  // Held together until all were decided, so that none is settled and makes room for an eleventh.
  steps.allow(0)
  let refused_count = 0
  const ask = async () => {
    const answer = await customer.fetch('/v1/completions', { method: 'POST', body })
    if (answer.status === 429) refused_count++
    return answer
  }
  const asked = Array.from({ length: 64 }, ask)
  const decided = eventually(async () => {
    const [row] =
      await stack.sql`select count(*)::int as held from reservations where account_id = ${customer.account_id}`
    return row!.held === 10 ? true : null
  })
  await decided
  await eventually(async () => (refused_count >= 54 ? true : null))
  steps.letGo()
  const answers = await Promise.all(asked)
  const refused = answers.filter(({ status }) => status === 429)
  expect(answers.filter(({ status }) => status === 200)).toHaveLength(10)
  expect(refused).toHaveLength(54)
  for (const answer of refused) {
    expect(answer.headers.get('x-should-retry')).toBe('false')
    expect(await answer.json()).toMatchObject({ error: { type: 'insufficient_quota', code: 'insufficient_quota' } })
  }
  await eventually(async () => {
    const [row] = await stack.sql`select pending_nanousd from accounts where id = ${customer.account_id}`
    return row!.pending_nanousd === '0' ? true : null
  })
  await expectBooksToBalance()
})

test('a client that leaves in mid-generation frees its blocks, and pays for what was generated', async () => {
  const random = seededRandom()
  const freed_ms: number[] = []
  const paid_ms: number[] = []
  const customer = await newCustomer(stack)
  for (let round = 0; round < 8; round++) {
    const leave = new AbortController()
    steps.allow(100) // each writes more than 100 bytes; what is read ends before, and the generation far behind
    const { reader, request_id } = await openStream(customer, leave.signal, { ignore_eos: true })
    const bytes_read_max = random.below(6000)
    for (let read = 0; read < bytes_read_max; ) {
      const { value, done } = await reader.read()
      if (done) break
      read += value.length
    }
    leave.abort()
    const freed = await eventually(async () => {
      const { blocks_free, blocks_total } = await nodeStatus(stack)
      return blocks_free === blocks_total ? true : null
    })
    const { value: usage, ms } = await settledUsage(request_id)
    freed_ms.push(freed.ms)
    paid_ms.push(ms)
    expect(usage!.outcome).toBe('client_gone')
    expect(stack.readJournal()).toContain(`"completion_tokens":${usage!.completion_tokens}`)
    expect(usage!.completion_tokens - usage!.delivered_tokens).toBeLessThanOrEqual(8)
    expect(usage!.delivered_tokens).toBeLessThanOrEqual(usage!.completion_tokens)
  }
  console.log(`freed within ${Math.max(...freed_ms).toFixed(0)} ms, paid within ${Math.max(...paid_ms).toFixed(0)} ms`)
  await expectBooksToBalance()
})

test('a key that is revoked while its streams run stops them, and pays for what was generated', async () => {
  const customer = await newCustomer(stack)
  steps.allow(0)
  const streams = await Promise.all(
    Array.from({ length: 8 }, () => openStream(customer, undefined, { ignore_eos: true })),
  )
  steps.allow(200) // for all of them together
  await Promise.all(streams.map(({ reader }) => readText(reader)))
  const headers = { authorization: `Bearer ${stack.admin_key}` }
  const answer = await fetch(`${stack.gateway_url}/admin/keys/${customer.key_id}`, { method: 'DELETE', headers })
  expect(answer.status).toBe(200)
  const texts = await Promise.all(streams.map(({ reader }) => restOf(reader)))
  for (const text of texts) expect(text).toContain('"code":"request_revoked"')
  for (const { request_id } of streams) {
    const { value: usage } = await settledUsage(request_id)
    expect(usage!.outcome).toBe('revoked')
    expect(usage!.completion_tokens).toBeGreaterThan(0)
    expect(usage!.completion_tokens).toBeLessThan(endless.max_tokens)
  }
  expect((await customer.fetch('/v1/models')).status).toBe(401)
  await expectBooksToBalance()
})

async function restOf(reader: ReadableStreamDefaultReader<Uint8Array>): Promise<string> {
  const decoder = new TextDecoder()
  let text = ''
  for (let part = await reader.read(); !part.done; part = await reader.read()) text += decoder.decode(part.value)
  return text
}

test('a node killed in mid-generation settles after its restart what it had generated', async () => {
  const customer = await newCustomer(stack)
  steps.allow(100)
  const { reader, request_id } = await openStream(customer, undefined, { ignore_eos: true })
  await readText(reader, 10)
  stack.node.kill('SIGKILL')
  await stack.node.exited
  steps.letGo()
  await stack.restartNode()
  const { value: usage } = await settledUsage(request_id)
  expect(usage!.outcome).toBe('node_lost')
  expect(usage!.completion_tokens).toBeGreaterThanOrEqual(8)
  const open = await stack.sql`select request_id from reservations where state = 'pending'`
  expect(open).toEqual([])
  await expectBooksToBalance()
  // And the service goes on.
  await eventually(async () => ((await customer.fetch('/v1/models')).ok ? true : null))
  const after = await customer.fetch('/v1/completions', {
    method: 'POST',
    body: JSON.stringify({ model, prompt: 'x', max_tokens: 3 }),
  })
  expect(after.status).toBe(200)
})
