// The path of a request over HTTP: what the node is asked, what the client gets, and what happens when a node refuses, is gone,
// or the client leaves.

import { connect as connectSocket, type Socket } from 'node:net'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { GenerateRequest, NodeErrorCode } from '../../../contract/internal/generation.ts'
import { startCannedNode } from '../../support/canned-node.ts'
import { newGate } from '../../support/gate.ts'
import { type Caller, chatBody, errorOf, model, startWithCaller, type TestGateway } from '../../support/gateway.ts'
import { bodySha256 } from '../../support/generate.ts'
import { issuer } from '../../support/keys.ts'
import { readText } from '../../support/read-text.ts'
import { eventually } from '../../support/stack.ts'

let gateway: TestGateway
let caller: Caller

beforeAll(async () => {
  ;[gateway, caller] = await startWithCaller()
})
afterAll(() => gateway?.stop())
afterEach(() => gateway.node.calm())

const completion = { model, prompt: 'def f():' }

interface Entry {
  kind: string
  amount_nanousd: string
}

async function asked(path: string, body: object): Promise<GenerateRequest> {
  const response = await caller.post(path, body)
  expect(response.status, await response.text()).toBe(200)
  return gateway.node.accepted.at(-1)!.request
}

async function stateOf(request_id: string | null): Promise<string> {
  const response = await caller.get(`/v1/usage/${request_id}`)
  return ((await response.json()) as { state: string }).state
}

describe('the node is asked', () => {
  test('for the card’s defaults where the caller gave none', async () => {
    const { sampling, ...request } = await asked('/v1/completions', completion)
    expect(request).toMatchObject({ n: 1, max_tokens: 512, max_tokens_is_default: true, stop: [], stream: false })
    const { seed, ...rest } = sampling
    expect(rest).toEqual({
      temperature: 1,
      top_p: 0.85,
      top_k: 0,
      min_p: 0,
      repetition_penalty: 1,
      frequency_penalty: 0,
      presence_penalty: 0,
    })
    expect(seed).toMatch(/^\d{1,20}$/)
  })

  test('for another seed each time, and for the given one where there is one', async () => {
    const seeds = [await asked('/v1/completions', completion), await asked('/v1/completions', completion)]
    expect(seeds[0]!.sampling.seed).not.toBe(seeds[1]!.sampling.seed)
    expect((await asked('/v1/completions', { ...completion, seed: 7 })).sampling.seed).toBe('7')
    expect((await asked('/v1/completions', { ...completion, seed: -1 })).sampling.seed).toBe(String(2n ** 64n - 1n))
  })

  test('for what the caller set', async () => {
    const set = { temperature: 0, top_p: 0.5, top_k: 9, min_p: 0.1, repetition_penalty: 1.2 }
    const more = { frequency_penalty: -1, presence_penalty: 1, n: 2, max_tokens: 10, stop: 'x' }
    const request = await asked('/v1/completions', { ...completion, ...set, ...more })
    expect(request).toMatchObject({ n: 2, max_tokens: 10, max_tokens_is_default: false, stop: ['x'] })
    expect(request.sampling).toMatchObject({ ...set, frequency_penalty: -1, presence_penalty: 1 })
  })

  test('for what ends an answer, what moves its logits, and its log-probabilities', async () => {
    const none = { stop_token_ids: [], include_stop: false, min_tokens: 0, ignore_eos: false, logit_bias: [] }
    expect(await asked('/v1/completions', completion)).toMatchObject({ ...none, logprobs: null, echo: false })
    const ends = { stop_token_ids: [7, 8], min_tokens: 3, ignore_eos: true }
    const set = { ...ends, include_stop_str_in_output: true, logit_bias: { 5: -100, 12: 1.5 } }
    const asked_for = {
      ...ends,
      include_stop: true,
      logit_bias: [
        [5, -100],
        [12, 1.5],
      ],
    }
    expect(await asked('/v1/completions', { ...completion, ...set, logprobs: 0 })).toMatchObject({
      ...asked_for,
      logprobs: 0,
    })
    expect(await asked('/v1/completions', { ...completion, echo: true })).toMatchObject({ echo: true, logprobs: null })
    const chat = { ...chatBody, ...set, logprobs: true }
    expect(await asked('/v1/chat/completions', chat)).toMatchObject({ ...asked_for, logprobs: 0 })
    expect(await asked('/v1/chat/completions', { ...chat, top_logprobs: 20 })).toMatchObject({ logprobs: 20 })
  })

  test('for what stands between a prompt and a suffix, where the suffix is not empty', async () => {
    const infill = await asked('/v1/completions', { ...completion, prompt: ['a', 'é'], suffix: 'b' })
    expect(infill.prompts).toEqual([
      [{ infill: { before: 'a', after: 'b' } }],
      [{ infill: { before: 'é', after: 'b' } }],
    ])
    expect(gateway.node.accepted.at(-1)!.ticket).toMatchObject({ prompt_tokens_max: 2 + 5 + (3 + 5) })
    const plain = await asked('/v1/completions', completion)
    expect((await asked('/v1/completions', { ...completion, suffix: '' })).prompts).toEqual(plain.prompts)
  })

  test('for values of answers, of which nothing is drawn', async () => {
    const score = await asked('/v1/score', { model, text_1: 'q', text_2: ['a', 'é'] })
    const prompts = [[{ judged: { query: 'q', answer: 'a' } }], [{ judged: { query: 'q', answer: 'é' } }]]
    expect(score).toMatchObject({ shape: 'score', prompts, n: 1, max_tokens: 0, logprobs: 0, stream: false })
    expect(gateway.node.accepted.at(-1)!.ticket).toMatchObject({
      prompt_tokens_max: 2 + 3 + 2 * 64,
      request_output_tokens_max: 0,
    })
    const pairs = await asked('/v1/score', { model, text_1: ['p', 'q'], text_2: ['a', 'b'] })
    expect(pairs.prompts).toEqual([
      [{ judged: { query: 'p', answer: 'a' } }],
      [{ judged: { query: 'q', answer: 'b' } }],
    ])
    const rerank = await asked('/v1/rerank', { model, query: 'q', documents: ['a', 'é'], top_n: 1 })
    expect(rerank).toMatchObject({ shape: 'rerank', prompts, ranked: { top_n: 1, texts: ['a', 'é'] } })
    expect(await asked('/v1/rerank', { model, query: 'q', documents: ['a', 'é'] })).toMatchObject({
      ranked: { top_n: 2 },
    })
  })

  test('for a prompt that is given back, scored, truncated, or alone', async () => {
    const plain = await asked('/v1/completions', completion)
    for (const name of ['truncate_prompt', 'return_token_ids']) expect(plain).not.toHaveProperty(name) // nodes of the release before
    const scored = { ...completion, echo: true, logprobs: 1, max_tokens: 0 }
    expect(await asked('/v1/completions', scored)).toMatchObject({
      echo: true,
      logprobs: 1,
      max_tokens: 0,
      max_tokens_is_default: false,
    })
    expect(gateway.node.accepted.at(-1)!.ticket).toMatchObject({ request_output_tokens_max: 0 })
    const cut = { ...chatBody, truncate_prompt_tokens: 3, return_token_ids: true }
    expect(await asked('/v1/chat/completions', cut)).toMatchObject({ truncate_prompt: 3, return_token_ids: true })
    expect(gateway.node.accepted.at(-1)!.ticket).toMatchObject({ prompt_tokens_max: 3 })
    expect(await asked('/v1/completions', { ...completion, truncate_prompt_tokens: -1 })).toMatchObject({
      truncate_prompt: 'to_fit',
    })
  })

  test('for a chat in the model’s own format', async () => {
    const request = await asked('/v1/chat/completions', { ...chatBody, max_completion_tokens: 4 })
    expect(request).toMatchObject({ shape: 'chat', max_tokens: 4 })
    expect(request.prompts).toEqual([[{ special: '<s>' }, { text: '<human>: \n写一段快速排序\n<bot>: \n' }]])
  })

  test('for several turns, with content in parts, and an answer handed back as it was given', async () => {
    const answer = { role: 'assistant', content: 'a1', refusal: null }
    const messages = [
      { role: 'system', content: 'Be brief.' },
      {
        role: 'user',
        content: [
          { type: 'text', text: 'q' },
          { type: 'text', text: '1' },
        ],
      },
      answer,
      { role: 'user', content: '</s><s>' },
    ]
    const request = await asked('/v1/chat/completions', { model, messages })
    const text = 'Be brief.\n<human>: \nq1\n<bot>: \na1\n<human>: \n</s><s>\n<bot>: \n'
    expect(request.prompts).toEqual([[{ special: '<s>' }, { text }]])
  })

  test('for raw prompts as they stand: text, texts, ids and lists of ids', async () => {
    const prompts = async (prompt: unknown) => (await asked('/v1/completions', { model, prompt })).prompts
    const begin = { special: '<s>' }
    expect(await prompts('<s> a')).toEqual([[begin, { text: '<s> a' }]])
    expect(await prompts(['a', 'b'])).toEqual([
      [begin, { text: 'a' }],
      [begin, { text: 'b' }],
    ])
    expect(await prompts([1, 5, 9])).toEqual([[{ tokens: [1, 5, 9] }]])
    expect(await prompts([[1], [2, 3]])).toEqual([[{ tokens: [1] }], [{ tokens: [2, 3] }]])
  })

  test('under a ticket for it, this body and this request, that pays for the ceiling and hides whose it is', async () => {
    await caller.post('/v1/completions', { model, prompt: ['äb', 'c'], max_tokens: 10, n: 2 })
    const { ticket, request, signed } = gateway.node.accepted.at(-1)!
    expect(ticket).toMatchObject({
      request_id: request.request_id,
      attempt: 1,
      node_id: 'canned',
      body_sha256: bodySha256(JSON.stringify(request)),
      model,
      prompt_tokens_max: 1 + (3 + 1) + 1 + (1 + 1), // <s>, bytes, and one a text part
      request_output_tokens_max: 40,
    })
    expect(ticket).not.toHaveProperty('account_id')
    expect(await issuer.open(signed)).toMatchObject({
      account_id: caller.account_id,
      key_id: caller.key_id,
      reserved_nanousd: String(8 * 20 + 40 * 60),
      issued_unix_ms: ticket.expires_unix_ms - 60_000,
    })
  })
})

describe('the salt of the prefix cache', () => {
  const salt = async (who: Caller, body: object = completion) => {
    expect((await who.post('/v1/completions', body)).status).toBe(200)
    return gateway.node.accepted.at(-1)!.ticket.cache_salt
  }

  test('is one for an account, another for another, and tells neither', async () => {
    const other = await gateway.newCaller()
    const mine = await salt(caller)
    expect(await salt(caller)).toBe(mine)
    expect(await salt(other)).not.toBe(mine)
    expect(mine).toMatch(/^[A-Za-z0-9_-]{43}$/)
  })

  test('is not set by a caller', async () => {
    expect(await salt(caller, { ...completion, cache_salt: 'x' })).toBe(await salt(caller))
  })
})

describe('the client gets', () => {
  test('the node’s stream byte for byte, with the headers of one', async () => {
    const response = await caller.post('/v1/chat/completions', {
      ...chatBody,
      stream: true,
      stream_options: { include_usage: true },
    })
    const text = await response.text()
    expect(response.headers.get('content-type')).toBe('text/event-stream; charset=utf-8')
    expect(response.headers.get('cache-control')).toBe('no-cache, no-transform')
    expect(response.headers.get('openai-processing-ms')).toMatch(/^\d+$/)
    const { request } = gateway.node.accepted.at(-1)!
    expect(response.headers.get('x-request-id')).toBe(request.request_id)
    const events = text.split('\n\n')
    expect(events.slice(-2)).toEqual(['data: [DONE]', ''])
    const chunks = events.slice(0, -2).map((event) => JSON.parse(event.slice(6)))
    expect(chunks.every(({ id }) => id === `chatcmpl-${request.request_id.replaceAll('-', '')}`)).toBe(true)
    expect(chunks.at(-1)).toMatchObject({ choices: [], usage: { completion_tokens: 3 } })
  })

  test('chunks as they are made, not at the end', async () => {
    const gate = newGate()
    gateway.node.options.after_chunk = gate.pass
    const response = await caller.post('/v1/completions', { ...completion, stream: true })
    const reader = response.body!.getReader()
    const first = await readText(reader) // while the node has made no other
    expect(first.match(/^data: /gm)).toHaveLength(1)
    gate.open()
    while (!(await reader.read()).done);
  })

  test('a whole answer as JSON', async () => {
    const response = await caller.post('/v1/completions', { ...completion, n: 2 })
    expect(response.headers.get('content-type')).toBe('application/json')
    expect(await response.json()).toMatchObject({
      object: 'text_completion',
      model,
      choices: [{ index: 0 }, { index: 1 }],
      usage: { completion_tokens: 6 },
    })
  })
})

describe('a node that refuses', () => {
  test.each<[NodeErrorCode, number, string]>([
    ['context_length_exceeded', 400, 'context_length_exceeded'],
    ['invalid_token_id', 400, 'invalid_token_id'],
    ['no_infill', 400, 'unsupported_parameter'],
    ['wrong_model', 400, 'invalid_value'],
    ['overloaded', 503, 'overloaded'],
    ['no_room', 503, 'node_has_no_room'],
    ['draining', 503, 'model_unavailable'],
    ['bad_ticket', 503, 'model_unavailable'],
    ['ceiling_exceeded', 500, 'internal_error'],
    ['unknown_special', 500, 'internal_error'],
    ['engine_failed', 500, 'internal_error'],
  ])('with %s becomes a %i, and the reservation is given back', async (refuse, status, code) => {
    gateway.node.options.refuse = refuse
    const response = await caller.post('/v1/completions', completion)
    const error = await errorOf(response)
    expect(error).toMatchObject({ status, code })
    expect(error.message.includes('the node refuses')).toBe(status === 400)
    expect(response.headers.get('retry-after')).toBe(
      status === 400 ? null : (response.headers.get('retry-after') ?? 'none'),
    )
    expect(await stateOf(response.headers.get('x-request-id'))).toBe('voided')
  })
})

describe('a node that is overloaded', () => {
  test.each([
    ['17', '17'],
    ['0', '1'],
    ['3600', '60'],
    ['tomorrow', '1'],
    [undefined, '1'],
  ])('and says %s has the client come back after %s seconds', async (said, told) => {
    Object.assign(gateway.node.options, { refuse: 'overloaded', retry_after: said })
    const response = await caller.post('/v1/completions', completion)
    delete gateway.node.options.retry_after
    expect(await errorOf(response)).toMatchObject({ status: 503, code: 'overloaded' })
    expect(response.headers.get('retry-after')).toBe(told)
  })
})

describe('a deadline', () => {
  const ticketFor = async (path: string, body: object) => {
    await asked(path, body)
    return gateway.node.accepted.at(-1)!.ticket
  }

  test.each([
    ['/v1/completions', completion],
    ['/v1/chat/completions', chatBody],
  ])('of the caller (%s) is what the node may take, less what went before', async (path, body) => {
    const { duration_ms_max } = await ticketFor(path, { ...body, deadline_ms: 25_000 })
    expect(duration_ms_max).toBeGreaterThan(0)
    expect(duration_ms_max).toBeLessThanOrEqual(25_000)
  })

  test('that none gave, or a later one, is the longest a generation may take', async () => {
    for (const deadline_ms of [undefined, null, 2 ** 40]) {
      const { duration_ms_max } = await ticketFor('/v1/completions', { ...completion, deadline_ms })
      expect(duration_ms_max).toBeLessThanOrEqual(600_000)
      expect(duration_ms_max).toBeGreaterThan(500_000)
    }
  })

  test('that is over before a node is asked leaves it one millisecond', async () => {
    const tickets = [1, 2, 3].map(() => ticketFor('/v1/completions', { ...completion, deadline_ms: 1 }))
    for (const { duration_ms_max } of await Promise.all(tickets)) expect(duration_ms_max).toBe(1)
  })
})

describe('with two nodes', () => {
  test('the other one answers when the first refuses for now, and the first can no longer settle', async () => {
    const options = gateway.node_options
    const second = await startCannedNode({ ...options, node_id: 'second' })
    gateway.node.options.refuse = 'overloaded'
    const attempts = new Set<number>()
    for (let i = 0; i < 50 && attempts.size < 2; i += 1) {
      await Promise.all([gateway.node.sync(), second.sync()]) // both are alive, however busy the machine is
      expect((await caller.post('/v1/completions', completion)).status).toBe(200)
      attempts.add(second.accepted.at(-1)!.ticket.attempt)
    }
    expect(attempts).toEqual(new Set([1, 2]))
    const { ticket } = second.accepted.find((accepted) => accepted.ticket.attempt === 2)!
    const settled = await eventually(async () => second.outcomes.get(ticket.request_id) ?? null)
    expect(settled.value).toBe('posted')
    await second.stop()
    await gateway.db.sql`delete from registered_nodes where id = 'second'`
  })

  test('the other one answers when the first cannot be reached', async () => {
    const options = gateway.node_options
    const gone = await startCannedNode({ ...options, node_id: 'gone' })
    await gone.stop()
    const answers = await Promise.all(Array.from({ length: 8 }, () => caller.post('/v1/completions', completion)))
    expect(answers.map(({ status }) => status)).toEqual(Array(8).fill(200))
    await gateway.db.sql`delete from registered_nodes where id = 'gone'`
  })
})

describe('a connection that breaks after the node accepted and before the head of its answer', () => {
  // Who comes first, the gateway or the node's report, decides; here the gateway does.
  beforeEach(() => {
    gateway.node.options.before_report = (request_id) =>
      eventually(async () => {
        const [held] = await gateway.db.sql`select state, attempt from reservations where request_id = ${request_id}`
        return held?.state === 'voided' || held?.attempt > 1 || null
      })
  })
  afterEach(() => {
    delete gateway.node.options.loses_connection
    delete gateway.node.options.before_report
  })

  const charged = async (request_id: string) => {
    const rows = await gateway.db.sql`select amount_nanousd from entries where request_id = ${request_id}`
    return rows.length
  }

  test.each([true, false])(
    '(streaming: %s) gives the reservation back, and what the node counted is not charged',
    async (stream) => {
      gateway.node.options.loses_connection = true
      const response = await caller.post('/v1/completions', { ...completion, stream })
      expect(await errorOf(response)).toMatchObject({ status: 503, code: 'model_unavailable' })
      const request_id = response.headers.get('x-request-id')!
      expect(await stateOf(request_id)).toBe('voided')
      const settled = await eventually(async () => gateway.node.outcomes.get(request_id) ?? null)
      expect(settled.value).toBe('voided')
      expect(await charged(request_id)).toBe(0)
    },
  )

  test.each([true, false])(
    '(streaming: %s) is refunded where the node was settled before, and an Idempotency-Key may run again',
    async (stream) => {
      delete gateway.node.options.before_report
      gateway.node.options.loses_connection = 'once settled'
      const own = await gateway.newCaller()
      const headers = { 'idempotency-key': `lost ${stream}` }
      const response = await own.post('/v1/completions', { ...completion, stream }, { headers })
      expect(await errorOf(response)).toMatchObject({ status: 503, code: 'model_unavailable' })
      const request_id = response.headers.get('x-request-id')!
      const { entries } = (await (await own.get(`/v1/usage/${request_id}`)).json()) as { entries: Entry[] }
      expect(entries.map(({ kind }) => kind)).toEqual(['usage', 'refund'])
      expect(entries[1]!.amount_nanousd).toBe(entries[0]!.amount_nanousd)
      delete gateway.node.options.loses_connection
      const again = await own.post('/v1/completions', { ...completion, stream }, { headers })
      expect([again.status, again.headers.get('idempotency-replayed')]).toEqual([200, null])
      await again.text()
    },
  )

  test('lets another node answer, and only that one is charged for', async () => {
    const options = gateway.node_options
    const second = await startCannedNode({ ...options, node_id: 'second' })
    gateway.node.options.loses_connection = true
    const lost_count = gateway.node.accepted.length
    let moved: string | null = null
    for (let i = 0; i < 50 && moved === null; i += 1) {
      await Promise.all([gateway.node.sync(), second.sync()]) // both are alive, however busy the machine is
      expect((await caller.post('/v1/completions', completion)).status).toBe(200)
      moved = gateway.node.accepted[lost_count]?.ticket.request_id ?? null
    }
    const answered = await eventually(async () => second.outcomes.get(moved!) ?? null)
    expect(answered.value).toBe('posted')
    const lost = await eventually(async () => gateway.node.outcomes.get(moved!) ?? null)
    expect(lost.value).toBe('stale')
    expect(await charged(moved!)).toBe(1)
    await second.stop()
    await gateway.db.sql`delete from registered_nodes where id = 'second'`
  })
})

test('when no node can be reached it is a 503 and the reservation is given back', async () => {
  const { db } = gateway
  const options = { ...gateway.node_options, model: 'Ziya-Coding-34B-v1.0' }
  const gone = await startCannedNode({ ...options, node_id: 'gone' })
  await gone.stop()
  const response = await caller.post('/v1/completions', { model: 'Ziya-Coding-34B-v1.0', prompt: 'x' })
  expect(await errorOf(response)).toMatchObject({ status: 503, code: 'model_unavailable' })
  expect(await stateOf(response.headers.get('x-request-id'))).toBe('voided')
  await db.sql`delete from registered_nodes where id = 'gone'`
})

describe('a client that leaves', () => {
  test('while it is admitted holds no money, and no node hears of it', async () => {
    const { sql } = gateway.db
    const impatient = await gateway.newCaller()
    const asked_count = gateway.node.accepted.length
    await sql.begin(async (transaction) => {
      await transaction`select 1 from accounts where id = ${impatient.account_id} for update`
      const socket = sendRaw(impatient)
      await eventually(async () => {
        const [row] = await sql`select count(*)::int as waiting from pg_locks where not granted`
        return row!.waiting > 0 ? true : null
      })
      socket.resetAndDestroy()
      await new Promise((resolve) => setTimeout(resolve, 500)) // nothing tells when workerd has seen the reset
    })
    await eventually(async () => {
      const rows = await sql`select state from reservations where account_id = ${impatient.account_id}`
      return rows[0]?.state === 'voided' ? true : null
    })
    expect(gateway.node.accepted.length).toBe(asked_count)
  })

  test('in mid-stream ends the node’s work, and pays for what was generated', async () => {
    Object.assign(gateway.node.options, { after_chunk: newGate().pass, completion_tokens: 500 })
    const before = gateway.node.aborted_count
    const leave = new AbortController()
    const response = await caller.post('/v1/completions', { ...completion, stream: true }, { signal: leave.signal })
    const request_id = response.headers.get('x-request-id')!
    await readText(response.body!.getReader())
    leave.abort()
    await eventually(async () => (gateway.node.aborted_count > before ? true : null))
    const usage = await eventually(async () => {
      const report = (await (await caller.get(`/v1/usage/${request_id}`)).json()) as Record<string, unknown>
      return report.state === 'posted' ? report : null
    })
    expect(usage.value).toMatchObject({ outcome: 'client_gone' })
    expect(Number(usage.value.completion_tokens)).toBeLessThan(500)
  })
})

/** A request over a socket of its own, which can be reset. */
function sendRaw({ api_key }: Caller): Socket {
  const { hostname, port } = new URL(gateway.url)
  const socket = connectSocket(Number(port), hostname)
  const body = JSON.stringify(completion)
  const head = ['POST /v1/completions HTTP/1.1', `host: ${hostname}`, `authorization: Bearer ${api_key}`]
  socket.on('error', () => {})
  socket.write([...head, 'content-type: application/json', `content-length: ${body.length}`, '', body].join('\r\n'))
  return socket
}
