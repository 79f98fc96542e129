// The node over HTTP with a fake engine: what a gateway can rely on.

import { request as httpRequest, type IncomingMessage } from 'node:http'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { describe, expect, onTestFinished, test } from 'vitest'
import type { GenerateRequest, PromptPart } from '../../../contract/internal/generation.ts'
import { signTicket } from '../../../contract/internal/ticket.ts'
import { FakeGateway } from '../../support/fake-gateway.ts'
import { FAKE_BLOCKS, startFakeNode } from '../../support/fake-node.ts'
import { bodySha256, framesOf, generate, generateRequest, textOf, ticketFor } from '../../support/generate.ts'
import { HELD_MS, holdTimers } from '../../support/held-timers.ts'
import { journalLines } from '../../support/journal.ts'
import { otherSigner, ticketSigner } from '../../support/keys.ts'
import { eventually } from '../../support/patience.ts'
import { seededRandom } from '../../support/random.ts'

const text = (prompt: string): PromptPart[][] => [[{ special: '<s>' }, { text: prompt }]]
const completion = async (response: Promise<Response>) =>
  (await (await response).json()) as {
    choices: { index: number; text: string; finish_reason: string }[]
    usage: { prompt_tokens: number; completion_tokens: number; total_tokens: number }
  }
const refusal = async (response: Response) => ({
  status: response.status,
  accepted: response.headers.get('x-accepted'),
  ...((await response.json()) as { error: { code: string; message: string; param: string | null } }).error,
})

async function until(is_so: () => Promise<boolean> | boolean): Promise<void> {
  await eventually(async () => ((await is_so()) ? true : null))
}

/** An answer that begins and is not read. */
async function unreadAnswer(url: string, request: GenerateRequest): Promise<IncomingMessage> {
  const headers = { 'x-ticket': await signTicket(ticketFor(request), ticketSigner) }
  return new Promise((resolve, reject) => {
    httpRequest(`${url}/generate`, { method: 'POST', headers })
      .on('response', (response) => resolve(response.pause().on('error', () => {})))
      .on('error', reject)
      .end(JSON.stringify(request))
  })
}

/** However the test ends: a stream nobody ends would hold up the drain. */
function abortedInTheEnd(): AbortController {
  const controller = new AbortController()
  onTestFinished(() => controller.abort())
  return controller
}

describe('an answer', () => {
  test('has its choices by prompt and copy, and counts each prompt once', async () => {
    const node = await startFakeNode()
    const prompts = [...text('one'), ...text('another one')]
    const body = await completion(generate(node.url, { prompts, n: 3, max_tokens: 5 }))
    expect(body.choices.map(({ index, finish_reason }) => [index, finish_reason])).toEqual(
      [0, 1, 2, 3, 4, 5].map((index) => [index, 'length']),
    )
    const alone = await completion(generate(node.url, { prompts: text('another one'), max_tokens: 5 }))
    const other = await completion(generate(node.url, { prompts: text('one'), max_tokens: 5 }))
    expect(body.choices[3]!.text).toBe(alone.choices[0]!.text)
    expect(body.usage.prompt_tokens).toBe(alone.usage.prompt_tokens + other.usage.prompt_tokens)
    expect(body.usage.completion_tokens).toBe(30)
  })

  test('of choices that draw differs between them, and is the same again for the same seed', async () => {
    const node = await startFakeNode()
    const sampling = { ...generateRequest().sampling, temperature: 1, seed: '18446744073709551615' }
    const texts = async () => (await completion(generate(node.url, { n: 3, sampling }))).choices.map((c) => c.text)
    const first = await texts()
    expect(new Set(first).size).toBe(3)
    expect(await texts()).toEqual(first)
  })

  test('draws each choice of each prompt from a seed of its own', async () => {
    const node = await startFakeNode()
    const sampling = { ...generateRequest().sampling, temperature: 1 }
    const prompts = [...text('one'), ...text('one')]
    const body = await completion(generate(node.url, { prompts, n: 2, sampling }))
    expect(new Set(body.choices.map((choice) => choice.text)).size).toBe(4)
  })

  test.each(['completion', 'chat'] as const)('(%s) is the same streamed and whole', async (shape) => {
    const node = await startFakeNode({ engine: { eos_one_in: 50 } })
    for (const n of [1, 3]) {
      const request = { shape, n, max_tokens: 60, response_id: 'id-1' }
      const whole = (await (await generate(node.url, request)).json()) as {
        choices: { text?: string; message?: { content: string }; finish_reason: string }[]
      }
      const stream = await (await generate(node.url, { ...request, stream: true })).text()
      for (const [index, choice] of whole.choices.entries()) {
        expect(textOf(stream, index)).toBe(choice.text ?? choice.message!.content)
        const reasons = framesOf(stream)
          .flatMap((frame) => (frame === '[DONE]' ? [] : frame.choices))
          .filter((c) => c.index === index && c.finish_reason !== null)
        expect(reasons.map((c) => c.finish_reason)).toEqual([choice.finish_reason])
      }
    }
  })

  test('is the same alone and beside random neighbours', async () => {
    const random = seededRandom()
    const node = await startFakeNode({ config: { sequences_max: 8, batch_tokens_max: 48 }, engine: { eos_one_in: 40 } })
    const request = () => ({
      prompts: text('x '.repeat(1 + random.below(200))),
      max_tokens: 1 + random.below(60),
      sampling: { ...generateRequest().sampling, temperature: random.pick([0, 1]), seed: String(random.below(1e6)) },
    })
    const requests = Array.from({ length: 40 }, request)
    const alone: string[] = []
    for (const one of requests) alone.push((await completion(generate(node.url, one))).choices[0]!.text)
    const together = await Promise.all(requests.map((one) => completion(generate(node.url, one))))
    expect(together.map((body) => body.choices[0]!.text)).toEqual(alone)
  })

  test('ends before a stop string, streamed and whole', async () => {
    const node = await startFakeNode()
    const [free] = (await completion(generate(node.url, { max_tokens: 60 }))).choices
    const stop = [...free!.text].slice(20, 23).join('')
    const before = free!.text.slice(0, free!.text.indexOf(stop))
    const [choice] = (await completion(generate(node.url, { max_tokens: 60, stop: [stop] }))).choices
    expect(choice).toMatchObject({ text: before, finish_reason: 'stop' })
    const stream = await (await generate(node.url, { max_tokens: 60, stop: [stop], stream: true })).text()
    expect(textOf(stream)).toBe(before)
  })

  test.each([
    ['a control piece', 2],
    ['a piece with text', 300],
  ])('that the model ends with %s has no text for it, and counts it', async (_, eos_id) => {
    const node = await startFakeNode({ engine: { eos_one_in: 1, eos_id } })
    const body = await completion(generate(node.url))
    expect(body.choices[0]).toMatchObject({ text: '', finish_reason: 'stop' })
    expect(body.usage.completion_tokens).toBe(1)
  })

  test('without a limit of its own gets the room the context leaves', async () => {
    const node = await startFakeNode({ context_tokens: 64 })
    const body = await completion(generate(node.url, { max_tokens: 1000, max_tokens_is_default: true }))
    expect(body.usage.total_tokens).toBe(64)
    expect(body.choices[0]!.finish_reason).toBe('length')
  })
})

describe('cached tokens', () => {
  const prompts = text('a long prompt that fills more than one block '.repeat(4))
  interface Usage {
    prompt_tokens: number
    prompt_tokens_details: { cached_tokens: number }
  }
  const usage = async (node: { url: string }, changes: Partial<GenerateRequest>, ticket = {}) =>
    ((await (await generate(node.url, { prompts, ...changes }, { ticket })).json()) as { usage: Usage }).usage

  test('are told in usage and in the record, and the text is the same', async () => {
    const gateway = await FakeGateway.start()
    const node = await startFakeNode({ config: { gateway_url: gateway.url } })
    const request_id = crypto.randomUUID()
    const [cold, warm] = [await completion(generate(node.url, { prompts })), await usage(node, { request_id })]
    expect((await completion(generate(node.url, { prompts }))).choices).toEqual(cold.choices)
    const { prompt_tokens } = cold.usage
    const cached_tokens = Math.floor((prompt_tokens - 1) / 16) * 16
    expect(warm).toMatchObject({ prompt_tokens, prompt_tokens_details: { cached_tokens } })
    expect(await gateway.record(request_id)).toMatchObject({ prompt_tokens, cached_tokens })
  })

  test('count once a prompt, not once a choice that shares it', async () => {
    const node = await startFakeNode()
    expect((await usage(node, { n: 4 })).prompt_tokens_details.cached_tokens).toBe(0)
    const again = await usage(node, { n: 4 })
    expect(again.prompt_tokens_details.cached_tokens).toBeLessThan(again.prompt_tokens)
  })

  test('are of the same account only', async () => {
    const node = await startFakeNode()
    await usage(node, {}, { cache_salt: 'one' })
    const other = await usage(node, {}, { cache_salt: 'another' })
    expect(other.prompt_tokens_details.cached_tokens).toBe(0)
    const same = await usage(node, {}, { cache_salt: 'one' })
    expect(same.prompt_tokens_details.cached_tokens).toBeGreaterThan(0)
  })
})

describe('a stream', () => {
  test('is one frame an event, with usage at its end where asked for', async () => {
    const node = await startFakeNode()
    const response = await generate(node.url, { stream: true, include_usage: true, max_tokens: 4 })
    expect(response.headers.get('content-type')).toBe('text/event-stream; charset=utf-8')
    expect(response.headers.get('x-accepted')).toBe('1')
    const frames = framesOf(await response.text())
    expect(frames.at(-1)).toBe('[DONE]')
    expect(frames.at(-2)).toMatchObject({ choices: [], usage: { completion_tokens: 4 } })
    expect(frames.at(-3)).toMatchObject({ choices: [{ index: 0, text: '', finish_reason: 'length' }], usage: null })
    for (const frame of frames.slice(0, -2)) expect(frame).toMatchObject({ usage: null, choices: [{ index: 0 }] })
  })

  test('gets comments while it waits', async () => {
    const node = await startFakeNode({ config: { keep_alive_ms: 20 } })
    const goOn = node.engine.hold()
    let stream = ''
    for await (const bytes of (await generate(node.url, { stream: true, max_tokens: 2 })).body!) {
      stream += Buffer.from(bytes).toString()
      if (stream.split('\n\n').filter((frame) => frame === ': keep-alive').length >= 4) goOn()
    }
    expect(framesOf(stream).at(-1)).toBe('[DONE]')
  })

  test.each(['on', 'off'] as const)('whose engine fails ends with an error frame: lookahead %s', async (lookahead) => {
    const node = await startFakeNode({ engine: { step_ms: 10 }, config: { lookahead } })
    const response = await generate(node.url, { stream: true, max_tokens: 1000 })
    node.engine.fail_next = new Error('the device is lost')
    const frames = framesOf(await response.text())
    expect(frames.at(-1)).toMatchObject({ error: { code: 'engine_failed', type: 'server_error' } })
    expect(await node.failed).toBe(node.engine.fail_next)
    expect(await refusal(await generate(node.url))).toMatchObject({
      status: 503,
      code: 'engine_failed',
      accepted: null,
    })
    expect((await fetch(`${node.url}/healthz`)).status).toBe(503)
  })

  test('at its deadline ends with what there is', async () => {
    const gateway = await FakeGateway.start()
    const node = await startFakeNode({ engine: { step_ms: 1 }, config: { gateway_url: gateway.url } })
    const comeToDeadline = holdTimers()
    const request_id = crypto.randomUUID()
    const response = await generate(
      node.url,
      { request_id, stream: true, max_tokens: 2000, include_usage: true },
      { ticket: { duration_ms_max: HELD_MS } },
    )
    await until(() => node.engine.steps >= 10)
    comeToDeadline()
    const frames = framesOf(await response.text())
    expect(frames.at(-1)).toBe('[DONE]')
    expect(frames.at(-3)).toMatchObject({ choices: [{ finish_reason: 'length' }] })
    const record = await gateway.record(request_id)
    expect(record.outcome).toBe('deadline')
    expect(record.completion_tokens).toBeGreaterThan(0)
    expect(frames.at(-2)).toMatchObject({ usage: { completion_tokens: record.completion_tokens } })
  })
})

describe('a deadline that comes while a request still waits', () => {
  test.each([true, false])(
    '(streaming: %s) ends it with an answer of no tokens, which costs nothing',
    async (stream) => {
      const gateway = await FakeGateway.start()
      const node = await startFakeNode({
        engine: { step_ms: 5 },
        config: { sequences_max: 1, gateway_url: gateway.url },
      })
      const leaving = abortedInTheEnd()
      const running = generate(
        node.url,
        { stream: true, max_tokens: 3000, ignore_eos: true },
        { signal: leaving.signal },
      )
      await until(async () => (await node.status()).running === 1)
      const request_id = crypto.randomUUID()
      const request = { request_id, stream, include_usage: stream, max_tokens: 2000, n: 2 }
      const text = await (await generate(node.url, request, { ticket: { duration_ms_max: 60 } })).text()
      const bodies = stream ? framesOf(text) : [JSON.parse(text) as ReturnType<typeof framesOf>[number]]
      const said = bodies.filter((body) => body !== '[DONE]')
      expect(bodies.at(-1) === '[DONE]').toBe(stream)
      const reasons = said.flatMap(({ choices }) => choices.map(({ finish_reason }) => finish_reason)).filter(Boolean)
      expect(reasons).toEqual(['length', 'length'])
      expect(said.at(-1)!.usage).toMatchObject({ prompt_tokens: 0, completion_tokens: 0 })
      expect(await gateway.record(request_id)).toMatchObject({
        outcome: 'deadline',
        prompt_tokens: 0,
        cached_tokens: 0,
        completion_tokens: 0,
      })
      expect(await node.status()).toMatchObject({ running: 1, waiting: 0 })
      leaving.abort()
      await running
    },
  )
})

describe('a client that leaves', () => {
  test.each([true, false])(
    '(streaming: %s) frees its blocks before another step ends, and is billed what was made',
    async (stream) => {
      const gateway = await FakeGateway.start()
      const node = await startFakeNode({ engine: { step_ms: 5 }, config: { gateway_url: gateway.url } })
      const request_id = crypto.randomUUID()
      const leaving = new AbortController()
      const response = generate(
        node.url,
        { request_id, stream, max_tokens: 3000, ignore_eos: true },
        { signal: leaving.signal },
      )
      response.catch(() => {})
      await until(() => node.engine.steps >= 10)
      const goOn = node.engine.hold()
      leaving.abort()
      await until(async () => (await node.status()).blocks_free === FAKE_BLOCKS)
      goOn()
      const record = await gateway.record(request_id)
      expect(record.outcome).toBe('client_gone')
      expect(record.completion_tokens).toBeGreaterThan(0)
      expect(record.completion_tokens).toBeLessThan(3000)
      if (stream) expect(record.delivered_tokens).toBeGreaterThan(record.completion_tokens - 8)
      else expect(record.delivered_tokens).toBe(0)
    },
  )

  test('while it still waits leaves the queue', async () => {
    const node = await startFakeNode({ engine: { step_ms: 5 }, config: { sequences_max: 1 } })
    const running = new AbortController()
    const waiting = new AbortController()
    generate(node.url, { stream: true, max_tokens: 3000, ignore_eos: true }, { signal: running.signal }).catch(() => {})
    await until(async () => (await node.status()).running === 1)
    const goOn = node.engine.hold()
    generate(node.url, { stream: true }, { signal: waiting.signal }).catch(() => {})
    await until(async () => (await node.status()).waiting === 1)
    waiting.abort()
    await until(async () => (await node.status()).waiting === 0)
    expect((await node.status()).running).toBe(1)
    goOn()
    running.abort()
  })
})

test('a slow reader is paused without hurting others, and cut off in the end', async () => {
  const gateway = await FakeGateway.start()
  const config = { buffer_bytes_max: 10_000, slow_ms_max: 400, gateway_url: gateway.url }
  const node = await startFakeNode({ config, engine: { blocks: 4096 } })
  // Long names make long frames: what the kernel buffers between two sockets takes some megabytes to fill.
  const request = generateRequest({ stream: true, n: 30, max_tokens: 2000, response_id: 'x'.repeat(200) })
  await unreadAnswer(node.url, request)
  const others = await Promise.all([1, 2, 3].map(() => completion(generate(node.url, { max_tokens: 30 }))))
  expect(others.map((body) => body.usage.completion_tokens)).toEqual([30, 30, 30])
  const record = await gateway.record(request.request_id)
  expect(record.outcome).toBe('client_gone')
  expect(record.completion_tokens).toBeLessThan(30 * 2000)
  expect((await node.status()).blocks_free).toBe(4096)
})

describe('a refusal', () => {
  const long = [[{ tokens: Array.from({ length: 200 }, () => 300) }]]
  const cases: [string, Partial<GenerateRequest>, object, string][] = [
    ['too few prompt tokens paid for', {}, { prompt_tokens_max: 2 }, 'ceiling_exceeded'],
    ['too few output tokens paid for', { n: 2 }, { request_output_tokens_max: 39 }, 'ceiling_exceeded'],
    ['a ticket for another model', {}, { model: 'other' }, 'bad_ticket'],
    ['a ticket for another node', {}, { node_id: 'other' }, 'bad_ticket'],
    ['a ticket for another body', {}, { body_sha256: bodySha256('{}') }, 'bad_ticket'],
    ['a ticket that has expired', {}, { expires_unix_ms: Date.now() - 1 }, 'bad_ticket'],
    ['a ticket for another request', {}, { request_id: crypto.randomUUID() }, 'bad_ticket'],
    ['a prompt longer than the context', { prompts: long }, {}, 'context_length_exceeded'],
    ['an answer longer than the context', { max_tokens: 128 }, {}, 'context_length_exceeded'],
    ['an unknown special', { prompts: [[{ special: '<human>' }]] }, {}, 'unknown_special'],
    ['an id outside the vocabulary', { prompts: [[{ tokens: [512] }]] }, {}, 'invalid_token_id'],
    ['a bias on an id outside the vocabulary', { logit_bias: [[512, 1]] }, {}, 'invalid_token_id'],
    ['a stop id outside the vocabulary', { stop_token_ids: [3, 512] }, {}, 'invalid_token_id'],
    ['a prompt of no tokens', { prompts: [[]] }, {}, 'bad_request'],
  ]

  test.each(cases)(
    'for %s comes before the first byte, and the next request works',
    async (_, changes, ticket, code) => {
      const node = await startFakeNode({ context_tokens: 128 })
      const refused = await refusal(await generate(node.url, changes, { ticket }))
      expect(refused).toMatchObject({ code, accepted: null, status: code === 'bad_ticket' ? 401 : 400 })
      expect((await generate(node.url)).status).toBe(200)
    },
  )

  test('for an id outside the vocabulary names its parameter, and its neighbours go on', async () => {
    const node = await startFakeNode({ engine: { step_ms: 5 } })
    const alone = await completion(generate(node.url))
    const neighbour = completion(generate(node.url))
    const refused = await Promise.all([
      generate(node.url, { logit_bias: [[2 ** 31 - 1, 100]] }),
      generate(node.url, { stop_token_ids: [2 ** 31 - 1] }),
    ])
    const params = (await Promise.all(refused.map(refusal))).map(({ code, param }) => [code, param])
    expect(params).toEqual([
      ['invalid_token_id', 'logit_bias'],
      ['invalid_token_id', 'stop_token_ids'],
    ])
    expect((await neighbour).choices).toEqual(alone.choices)
  })

  test('for the context names both counts', async () => {
    const node = await startFakeNode({ context_tokens: 128 })
    const { message } = await refusal(await generate(node.url, { prompts: long, max_tokens: 7 }))
    expect(message).toContain('length is 128 tokens')
    expect(message).toContain('has 200 tokens')
    expect(message).toContain('may have 7')
  })

  test('for megabytes of text comes without tokenizing them', async () => {
    const node = await startFakeNode({ context_tokens: 128 })
    const response = await generate(node.url, { prompts: text('ab '.repeat(2 << 20)) })
    expect(await refusal(response)).toMatchObject({
      code: 'context_length_exceeded',
      message: expect.stringContaining('has at least'),
    })
  })

  const malformed: [string, (request: GenerateRequest) => unknown, string | null][] = [
    ['an unknown field', (r) => ({ ...r, urgency: 1 }), null],
    ['a missing field', ({ n, ...r }) => r, 'n'],
    ['a wrong type', (r) => ({ ...r, max_tokens: '5' }), 'max_tokens'],
    ['a negative number', (r) => ({ ...r, max_tokens: -1 }), 'max_tokens'],
    ['a number beyond the seed', (r) => ({ ...r, sampling: { ...r.sampling, seed: '-1' } }), 'sampling.seed'],
    ['a part of two kinds', (r) => ({ ...r, prompts: [[{ text: 'a', special: '<s>' }]] }), 'prompts.0.0'],
    ['a fractional id', (r) => ({ ...r, prompts: [[{ tokens: [1.5] }]] }), 'prompts.0.0'],
    ['no object', () => [], null],
  ]

  test.each(malformed)('for %s names it', async (_, change, param) => {
    const node = await startFakeNode()
    const request = generateRequest()
    const body = JSON.stringify(change(request))
    const ticket = await signTicket(ticketFor(request, { body_sha256: bodySha256(body) }), ticketSigner)
    const response = await fetch(`${node.url}/generate`, { method: 'POST', headers: { 'x-ticket': ticket }, body })
    expect(await refusal(response)).toMatchObject({ status: 400, code: 'bad_request', param, accepted: null })
  })

  test('for a body that is not JSON, or too large', async () => {
    const node = await startFakeNode()
    for (const body of ['{', 'x'.repeat((8 << 20) + 1)]) {
      const ticket = ticketFor(generateRequest(), { body_sha256: bodySha256(body) })
      const headers = { 'x-ticket': await signTicket(ticket, ticketSigner) }
      const response = await fetch(`${node.url}/generate`, { method: 'POST', headers, body })
      expect(await refusal(response)).toMatchObject({ status: 400, code: 'bad_request' })
    }
  })

  test('for a ticket that is missing, forged or used', async () => {
    const node = await startFakeNode()
    const missing = await fetch(`${node.url}/generate`, { method: 'POST', body: '{}' })
    expect(await refusal(missing)).toMatchObject({ status: 401, code: 'bad_ticket' })
    const forged = await generate(node.url, {}, { signer: otherSigner })
    expect(await refusal(forged)).toMatchObject({ status: 401, code: 'bad_ticket' })
    const request_id = crypto.randomUUID()
    expect((await generate(node.url, { request_id })).status).toBe(200)
    expect(await refusal(await generate(node.url, { request_id }))).toMatchObject({ status: 401, code: 'bad_ticket' })
    expect((await generate(node.url, { request_id }, { ticket: { attempt: 2 } })).status).toBe(200)
  })

  test('of two uses of one ticket at once hits exactly one', async () => {
    const node = await startFakeNode()
    const request_id = crypto.randomUUID()
    const responses = await Promise.all([1, 2, 3, 4].map(() => generate(node.url, { request_id })))
    expect(responses.map(({ status }) => status).sort()).toEqual([200, 401, 401, 401])
  })

  test('for a full queue leaves the running ones alone', async () => {
    const node = await startFakeNode({ engine: { step_ms: 5 }, config: { sequences_max: 1, waiting_max: 2 } })
    const responses = await Promise.all(Array.from({ length: 8 }, () => generate(node.url)))
    const statuses = responses.map(({ status }) => status).sort()
    expect(statuses[0]).toBe(200)
    expect(statuses.at(-1)).toBe(503)
    const refused = responses.filter(({ status }) => status === 503)
    for (const response of refused)
      expect(await refusal(response)).toMatchObject({ code: 'overloaded', accepted: null })
  })

  test('for a full queue says when to come back, by what waits and how fast it is worked off', async () => {
    const node = await startFakeNode({ engine: { step_ms: 10 }, config: { sequences_max: 1, waiting_max: 30 } })
    await (await generate(node.url, { max_tokens: 50 })).json() // at most 100 tokens a second, and its prompt
    const leaving = abortedInTheEnd()
    const open = (changes: Partial<GenerateRequest>) =>
      generate(node.url, { stream: true, ...changes }, { signal: leaving.signal })
    await open({ max_tokens: 3000, ignore_eos: true })
    await until(async () => (await node.status()).running === 1)
    await Promise.all(Array.from({ length: 30 }, () => open({ max_tokens: 50 })))
    const refused = await generate(node.url)
    expect(refused.status).toBe(503)
    const retry_after_s = Number(refused.headers.get('retry-after'))
    expect(Number.isInteger(retry_after_s)).toBe(true)
    expect(retry_after_s).toBeGreaterThanOrEqual(12) // 30 × 50 tokens and their prompts, at no more than 140 a second
    expect(retry_after_s).toBeLessThanOrEqual(60)
  })

  test('for a full queue comes before the prompt is read', async () => {
    const node = await startFakeNode({ engine: { step_ms: 5 }, config: { sequences_max: 1, waiting_max: 1 } })
    const leaving = abortedInTheEnd()
    const open = () =>
      generate(node.url, { stream: true, max_tokens: 3000, ignore_eos: true }, { signal: leaving.signal })
    await open()
    await until(async () => (await node.status()).running === 1)
    await open()
    const unreadable = { prompts: [[{ special: 'no such piece' }]] }
    expect(await refusal(await generate(node.url, unreadable))).toMatchObject({ status: 503, code: 'overloaded' })
    leaving.abort()
    await until(async () => (await node.status()).running === 0)
    expect(await refusal(await generate(node.url, unreadable))).toMatchObject({ status: 400, code: 'unknown_special' })
  })

  test('comes to no request for its number of choices alone: an empty queue takes it', async () => {
    const node = await startFakeNode({ config: { sequences_max: 2, waiting_max: 3 } })
    const body = await completion(generate(node.url, { n: 8, max_tokens: 3 }))
    expect(body.usage.completion_tokens).toBe(24)
  })
})

test('a drained node finishes what runs, refuses what comes, and reports all of it', async () => {
  const gateway = await FakeGateway.start()
  const node = await startFakeNode({ engine: { step_ms: 5 }, config: { gateway_url: gateway.url } })
  const request_id = crypto.randomUUID()
  const response = await generate(node.url, { request_id, stream: true, max_tokens: 40 })
  const drained = node.drain()
  expect(await refusal(await generate(node.url))).toMatchObject({ status: 503, code: 'draining' })
  expect(framesOf(await response.text()).at(-1)).toBe('[DONE]')
  await drained
  expect((await gateway.record(request_id, 0)).completion_tokens).toBe(40)
  expect(gateway.reports.at(-1)!.node.state).toBe('stopped')
})

test('a drain whose time is up ends what still runs or waits with what there is, and reports it', async () => {
  const gateway = await FakeGateway.start()
  const config = { drain_ms_max: HELD_MS, sequences_max: 1, gateway_url: gateway.url }
  const node = await startFakeNode({ engine: { step_ms: 5 }, config })
  const comeToDeadline = holdTimers()
  const [running_id, waiting_id] = [crypto.randomUUID(), crypto.randomUUID()]
  const request = { stream: true, max_tokens: 3000, ignore_eos: true, include_usage: true }
  const running = await generate(node.url, { ...request, request_id: running_id })
  await until(() => node.engine.steps >= 10)
  const waiting = await generate(node.url, { ...request, request_id: waiting_id })
  const drained = node.drain()
  comeToDeadline()
  const frames = framesOf(await running.text())
  expect(frames.at(-1)).toBe('[DONE]')
  expect(frames.at(-3)).toMatchObject({ choices: [{ finish_reason: 'length' }] })
  expect(framesOf(await waiting.text()).at(-1)).toBe('[DONE]')
  await drained
  const record = await gateway.record(running_id, 0)
  expect(record).toMatchObject({ outcome: 'deadline' })
  expect(frames.at(-2)).toMatchObject({ usage: { completion_tokens: record.completion_tokens } })
  expect(record.completion_tokens).toBeGreaterThan(0)
  expect(await gateway.record(waiting_id, 0)).toMatchObject({ outcome: 'deadline', completion_tokens: 0 })
})

test.each([true, false])(
  'a request that may not run any longer ends with an error, alone (streamed: %s)',
  async (stream) => {
    const gateway = await FakeGateway.start()
    const node = await startFakeNode({ engine: { step_ms: 10 }, config: { gateway_url: gateway.url } })
    const [revoked_id, other_id] = [crypto.randomUUID(), crypto.randomUUID()]
    const answer = generate(node.url, { request_id: revoked_id, stream, max_tokens: 3000, ignore_eos: true })
    const leaving = abortedInTheEnd()
    const other = generate(
      node.url,
      { request_id: other_id, stream: true, max_tokens: 3000, ignore_eos: true },
      { signal: leaving.signal },
    )
    await until(async () => (await node.status()).running === 2)
    gateway.stop = [revoked_id, crypto.randomUUID()]
    const response = await answer
    const text = await response.text()
    expect(response.status).toBe(stream ? 200 : 403)
    const last = stream ? framesOf(text).at(-1) : JSON.parse(text)
    expect(last).toMatchObject({ error: { code: 'request_revoked', param: null } })
    const record = await gateway.record(revoked_id)
    expect(record.outcome).toBe('revoked')
    expect(record.delivered_tokens > 0).toBe(stream) // an error's body is no answer
    expect(record.completion_tokens).toBeLessThan(3000)
    expect((await node.status()).running).toBe(1)
    expect((await other).status).toBe(200)
  },
)

test('a drain does not wait for a step that hangs', async () => {
  const gateway = await FakeGateway.start()
  const config = { drain_ms_max: 150, gateway_url: gateway.url }
  const node = await startFakeNode({ engine: { step_ms: 10 }, config })
  const request_id = crypto.randomUUID()
  const stream = await generate(node.url, { request_id, stream: true, max_tokens: 3000, ignore_eos: true })
  await until(async () => (await node.status()).running === 1)
  node.engine.hold()
  await node.drain()
  expect(framesOf(await stream.text()).at(-1)).toBe('[DONE]')
  expect(await gateway.record(request_id, 0)).toMatchObject({ outcome: 'deadline' })
})

test('a drain does not wait for a reader that never reads', async () => {
  const config = { drain_ms_max: 100, buffer_bytes_max: 10_000 }
  const node = await startFakeNode({ config, engine: { blocks: 4096 } })
  const request = generateRequest({ stream: true, n: 30, max_tokens: 2000, response_id: 'x'.repeat(200) })
  const reader = await unreadAnswer(node.url, request)
  await until(async () => {
    const before = node.engine.steps
    for (let turn = 0; turn < 100; turn++) await nextTurn() // a step takes a few
    return node.engine.steps === before // it is paused
  })
  await node.drain()
  reader.resume()
  await new Promise((resolve) => reader.once('close', resolve))
  expect(reader.complete).toBe(false)
})

test('the journal holds what was written before it was written', async () => {
  const node = await startFakeNode({ engine: { step_ms: 5 } })
  const request_id = crypto.randomUUID()
  const response = await generate(node.url, { request_id, stream: true, max_tokens: 30 })
  let stream = ''
  for await (const bytes of response.body!) {
    stream += Buffer.from(bytes).toString()
    const seen = framesOf(stream.slice(0, stream.lastIndexOf('\n\n') + 2)).filter(
      (f) => f !== '[DONE]' && f.choices[0]?.text,
    )
    expect(journalled(node.data_dir, request_id)).toBeGreaterThanOrEqual(seen.length)
  }
  expect(journalled(node.data_dir, request_id)).toBe(30)
})

/** The completion tokens the journal last names for a request. */
function journalled(data_dir: string, request_id: string): number {
  const counts = journalLines(data_dir).flatMap(({ counts = [], finished = [] }) => [
    ...counts.filter(([key]) => key.startsWith(request_id)).map(([, , , tokens]) => tokens),
    ...finished.filter((record) => record.request_id === request_id).map((record) => record.completion_tokens),
  ])
  return counts.at(-1) ?? 0
}

test('a stuck step makes the node unhealthy, however well it answers', async () => {
  const node = await startFakeNode({ config: { step_ms_max: 50 } })
  const goOn = node.engine.hold()
  expect((await fetch(`${node.url}/healthz`)).status).toBe(200)
  const response = generate(node.url, { max_tokens: 1 })
  await until(async () => (await fetch(`${node.url}/healthz`)).status === 503)
  goOn()
  await response
})

test('health says that the gateway refuses its reports', async () => {
  const gateway = await FakeGateway.start()
  gateway.status = 401
  const node = await startFakeNode({ config: { gateway_url: gateway.url } })
  const health = async () =>
    (await fetch(`${node.url}/healthz`)).json() as Promise<{ ok: boolean; report_failure: string }>
  await until(async () => !(await health()).ok)
  expect((await health()).report_failure).toContain('401')
  gateway.status = 200
  await until(async () => (await health()).ok)
})
