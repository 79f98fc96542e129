// Everything a caller can get wrong, over HTTP against real workerd: refused by name, in OpenAI's shape, and the next request works.

import { request as rawRequest } from 'node:http'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createKey } from '../../gateway/auth/key.ts'
import { draws } from '../support/draws.ts'
import { type Caller, chatBody, errorOf, model, startWithCaller, type TestGateway } from '../support/gateway.ts'

let gateway: TestGateway
let caller: Caller

beforeAll(async () => {
  ;[gateway, caller] = await startWithCaller()
})
afterAll(() => gateway?.stop())

const completion = { model, prompt: 'def f():' }
const chat = (path: object) => ({ ...chatBody, ...path })

const deep = (depth: number) => `${'['.repeat(depth)}${']'.repeat(depth)}`

describe('a body that is refused', () => {
  const C = '/v1/completions'
  const H = '/v1/chat/completions'
  const user = (content: unknown) => ({ ...chatBody, messages: [{ role: 'user', content }] })
  test.each<[string, string, unknown, number, string, string | null]>([
    ['is not JSON', C, '{"model":', 400, 'invalid_json', null],
    ['is empty', C, '', 400, 'invalid_json', null],
    ['is an array', C, '[]', 400, 'invalid_type', null],
    ['is null', C, 'null', 400, 'invalid_type', null],
    ['is nested half a million deep', C, `{"model":${deep(500_000)}}`, 400, 'invalid_json', null],
    ['is nested deeper than any field', C, `{"model":${deep(40)}}`, 400, 'invalid_json', null],
    ['opens quotes that never end', C, `{"${'\\"'.repeat(400_000)}`, 400, 'invalid_json', null],
    ['names no model', C, { prompt: 'x' }, 400, 'missing_required_parameter', 'model'],
    ['has no prompt', C, { model }, 400, 'missing_required_parameter', 'prompt'],
    ['has no messages', H, { model }, 400, 'missing_required_parameter', 'messages'],
    ['names an unknown model', C, { model: 'gpt-9', prompt: 'x' }, 404, 'model_not_found', 'model'],
    ['has an unknown field', C, { ...completion, colour: 1 }, 400, 'unknown_parameter', 'colour'],
    [
      'has an unknown field inside',
      H,
      chat({ stream: true, stream_options: { x: 1 } }),
      400,
      'unknown_parameter',
      'stream_options.x',
    ],
    [
      'has a tool of another type',
      H,
      chat({ tool_choice: 'required', parallel_tool_calls: true, tools: [{ type: 'custom', custom: { name: 'a' } }] }),
      400,
      'invalid_value',
      'tools[0].type',
    ],
    ['must call a tool that is not there', H, chat({ tool_choice: 'required' }), 400, 'invalid_value', 'tool_choice'],
    [
      'asks for the logprobs of its prompt in a chat',
      H,
      chat({ prompt_logprobs: 1 }),
      400,
      'unknown_parameter',
      'prompt_logprobs',
    ],
    [
      'keeps no token of its prompt',
      C,
      { ...completion, truncate_prompt_tokens: 0 },
      400,
      'invalid_value',
      'truncate_prompt_tokens',
    ],
    ['keeps half a token', H, chat({ truncate_prompt_tokens: 1.5 }), 400, 'invalid_type', 'truncate_prompt_tokens'],
    ['asks for token ids by number', H, chat({ return_token_ids: 1 }), 400, 'invalid_type', 'return_token_ids'],
    ['has max_tokens 0 in a chat', H, chat({ max_tokens: 0, echo: null }), 400, 'invalid_value', 'max_tokens'],
    ['asks for six logprobs', C, { ...completion, logprobs: 6 }, 400, 'invalid_value', 'logprobs'],
    ['asks for echo in a chat', H, chat({ echo: true }), 400, 'unknown_parameter', 'echo'],
    ['asks for logprobs by number in a chat', H, chat({ logprobs: 1 }), 400, 'invalid_type', 'logprobs'],
    ['asks for alternatives alone', H, chat({ top_logprobs: 2 }), 400, 'invalid_value', 'top_logprobs'],
    ['asks for 21 alternatives', H, chat({ logprobs: true, top_logprobs: 21 }), 400, 'invalid_value', 'top_logprobs'],
    ['has a bias above 100', C, { ...completion, logit_bias: { 5: 101 } }, 400, 'invalid_value', 'logit_bias.5'],
    ['has a bias on a word', C, { ...completion, logit_bias: { def: 1 } }, 400, 'invalid_value', 'logit_bias.def'],
    [
      'has a bias on a negative id',
      C,
      { ...completion, logit_bias: { '-1': 1 } },
      400,
      'invalid_value',
      'logit_bias.-1',
    ],
    [
      'has biases without end',
      C,
      { ...completion, logit_bias: Object.fromEntries(Array.from({ length: 1025 }, (_, id) => [id, 1])) },
      400,
      'invalid_value',
      'logit_bias',
    ],
    ['has a negative stop id', C, { ...completion, stop_token_ids: [-1] }, 400, 'invalid_value', 'stop_token_ids[0]'],
    [
      'has 65 stop ids',
      C,
      { ...completion, stop_token_ids: Array.from({ length: 65 }, (_, id) => id) },
      400,
      'invalid_value',
      'stop_token_ids',
    ],
    [
      'has min_tokens over max_tokens',
      C,
      { ...completion, min_tokens: 9, max_tokens: 8 },
      400,
      'invalid_value',
      'min_tokens',
    ],
    ['has min_tokens over the default', C, { ...completion, min_tokens: 513 }, 400, 'invalid_value', 'min_tokens'],
    ['scores no answers', '/v1/score', { model, text_1: 'q', text_2: [] }, 400, 'invalid_value', 'text_2'],
    [
      'scores pairs that are none',
      '/v1/score',
      { model, text_1: ['p', 'q'], text_2: ['a'] },
      400,
      'invalid_value',
      'text_2',
    ],
    ['scores without a text', '/v1/score', { model, text_2: 'a' }, 400, 'missing_required_parameter', 'text_1'],
    [
      'ranks 129 documents',
      '/v1/rerank',
      { model, query: 'q', documents: Array(129).fill('a') },
      400,
      'invalid_value',
      'documents',
    ],
    ['ranks none', '/v1/rerank', { model, query: 'q', documents: ['a'], top_n: 0 }, 400, 'invalid_value', 'top_n'],
    [
      'ranks by a field of its own',
      '/v1/rerank',
      { model, query: 'q', documents: ['a'], rank_fields: ['x'] },
      400,
      'unknown_parameter',
      'rank_fields',
    ],
    ['has a suffix by number', C, { ...completion, suffix: 7 }, 400, 'invalid_type', 'suffix'],
    ['has a suffix with a NUL', C, { ...completion, suffix: '\0' }, 400, 'invalid_value', 'suffix'],
    ['has a suffix to ids', C, { ...completion, prompt: [1, 2], suffix: 'x' }, 400, 'invalid_value', 'suffix'],
    ['has a suffix, and an echo', C, { ...completion, echo: true, suffix: 'x' }, 400, 'invalid_value', 'suffix'],
    [
      'has a suffix, and a prompt that is cut',
      C,
      { ...completion, truncate_prompt_tokens: 5, suffix: 'x' },
      400,
      'invalid_value',
      'suffix',
    ],
    ['asks for best_of', C, { ...completion, best_of: 2 }, 400, 'unsupported_parameter', 'best_of'],
    [
      'has a tool without a function',
      H,
      chat({ tools: [{ type: 'function' }] }),
      400,
      'invalid_type',
      'tools[0].function',
    ],
    ['has functions', H, chat({ functions: [{ name: 'a' }] }), 400, 'unsupported_parameter', 'functions'],
    [
      'calls a function by the older name',
      H,
      chat({ function_call: { name: 'a' } }),
      400,
      'unsupported_parameter',
      'function_call',
    ],
    [
      'asks for an answer in XML',
      H,
      chat({ response_format: { type: 'xml' } }),
      400,
      'invalid_type',
      'response_format.type',
    ],
    [
      'has a schema without a name',
      H,
      chat({ response_format: { type: 'json_schema', json_schema: { schema: {} } } }),
      400,
      'invalid_type',
      'response_format.json_schema.name',
    ],
    [
      'has a schema that is too long',
      H,
      chat({ response_format: { type: 'regex', pattern: 'a'.repeat(262_145) } }),
      400,
      'invalid_value',
      'response_format.pattern',
    ],
    ['has a temperature below 0', C, { ...completion, temperature: -0.1 }, 400, 'invalid_value', 'temperature'],
    ['has a temperature above 2', C, { ...completion, temperature: 2.1 }, 400, 'invalid_value', 'temperature'],
    ['has a temperature in words', C, { ...completion, temperature: 'hot' }, 400, 'invalid_type', 'temperature'],
    [
      'has an infinite number',
      C,
      `{"model":"${model}","prompt":"x","temperature":1e999}`,
      400,
      'invalid_type',
      'temperature',
    ],
    ['has top_p 0', C, { ...completion, top_p: 0 }, 400, 'invalid_value', 'top_p'],
    ['has top_p above 1', C, { ...completion, top_p: 1.01 }, 400, 'invalid_value', 'top_p'],
    ['has a deadline of 0', C, { ...completion, deadline_ms: 0 }, 400, 'invalid_value', 'deadline_ms'],
    ['has half a deadline', H, chat({ deadline_ms: 1.5 }), 400, 'invalid_type', 'deadline_ms'],
    ['has a deadline in words', H, chat({ deadline_ms: '1s' }), 400, 'invalid_type', 'deadline_ms'],
    ['has max_tokens 0 without echo', C, { ...completion, max_tokens: 0 }, 400, 'invalid_value', 'max_tokens'],
    ['has a negative max_tokens', C, { ...completion, max_tokens: -5 }, 400, 'invalid_value', 'max_tokens'],
    ['has half a max_tokens', C, { ...completion, max_tokens: 1.5 }, 400, 'invalid_type', 'max_tokens'],
    ['has max_tokens over the context', C, { ...completion, max_tokens: 1025 }, 400, 'invalid_value', 'max_tokens'],
    ['has a huge max_tokens', C, { ...completion, max_tokens: 1e18 }, 400, 'invalid_value', 'max_tokens'],
    ['gives two limits', H, chat({ max_tokens: 1, max_completion_tokens: 2 }), 400, 'invalid_value', 'max_tokens'],
    ['has n 0', C, { ...completion, n: 0 }, 400, 'invalid_value', 'n'],
    ['has n 9', C, { ...completion, n: 9 }, 400, 'invalid_value', 'n'],
    ['has too many choices in all', C, { ...completion, prompt: Array(40).fill('x'), n: 8 }, 400, 'invalid_value', 'n'],
    ['has 33 stops', C, { ...completion, stop: Array.from({ length: 33 }, () => 'a') }, 400, 'invalid_type', 'stop'],
    ['has half a seed', C, { ...completion, seed: 0.5 }, 400, 'invalid_value', 'seed'],
    ['has a seed past 64 bits', C, { ...completion, seed: 1e30 }, 400, 'invalid_value', 'seed'],
    [
      'has stream_options without stream',
      C,
      { ...completion, stream_options: { include_usage: true } },
      400,
      'invalid_value',
      'stream_options',
    ],
    ['has NUL in its prompt', C, { ...completion, prompt: 'a\0b' }, 400, 'invalid_value', 'prompt'],
    ['has NUL in a stop', C, { ...completion, stop: ['\0'] }, 400, 'invalid_value', 'stop[0]'],
    ['has a lone surrogate', C, `{"model":"${model}","prompt":"\\ud800"}`, 400, 'invalid_value', 'prompt'],
    [
      'has a lone surrogate in a message',
      H,
      `{"model":"${model}","messages":[{"role":"user","content":"\\udc00"}]}`,
      400,
      'invalid_value',
      'messages[0].content',
    ],
    ['has an empty list of prompts', C, { ...completion, prompt: [] }, 400, 'invalid_type', 'prompt'],
    ['mixes texts and ids', C, { ...completion, prompt: ['a', 1] }, 400, 'invalid_type', 'prompt'],
    ['has a negative token id', C, { ...completion, prompt: [1, -1] }, 400, 'invalid_value', 'prompt[1]'],
    ['has no messages in the list', H, chat({ messages: [] }), 400, 'invalid_value', 'messages'],
    [
      'has an unknown role',
      H,
      chat({ messages: [{ role: 'narrator', content: 'a' }] }),
      400,
      'invalid_value',
      'messages[0].role',
    ],
    [
      'continues an answer that is not there',
      H,
      chat({ continue_final_message: true }),
      400,
      'invalid_value',
      'continue_final_message',
    ],
    ['has a picture', H, user([{ type: 'image_url', image_url: 'x' }]), 400, 'invalid_type', 'messages[0].content'],
    ['has content null', H, user(null), 400, 'invalid_type', 'messages[0].content'],
  ])('%s', async (_, path, body, status, code, param) => {
    const response = await caller.post(path, body)
    expect(response.headers.get('x-should-retry')).toBe('false')
    expect(await errorOf(response)).toMatchObject({ status, code, param })
  })

  test('of more than a megabyte, announced, is a 413', async () => {
    const response = await caller.post('/v1/completions', { ...completion, prompt: 'x'.repeat(1 << 20) })
    expect(await errorOf(response)).toMatchObject({ status: 413, code: 'body_too_large' })
  })

  test('of more than a megabyte, in chunks without a length, is a 413', async () => {
    expect(await sendChunked(`{"prompt":"${'x'.repeat(1 << 20)}"`)).toBe(413)
  })

  test('that is not UTF-8 is a 400', async () => {
    const body = new Uint8Array([0x7b, 0xff, 0x7d])
    const response = await caller.post('/v1/completions', '', { body })
    expect(await errorOf(response)).toMatchObject({ status: 400, code: 'invalid_json' })
  })

  test('with a content-encoding is a 415', async () => {
    const response = await caller.post('/v1/completions', completion, { headers: { 'content-encoding': 'gzip' } })
    expect(await errorOf(response)).toMatchObject({ status: 415, code: 'unsupported_media_type' })
  })

  test('of another content type is a 415', async () => {
    const response = await caller.post('/v1/completions', completion, { headers: { 'content-type': 'text/plain' } })
    expect(await errorOf(response)).toMatchObject({ status: 415, code: 'unsupported_media_type' })
  })
})

test('a value that asks for nothing is taken, as clients send it', async () => {
  const nothing = {
    logprobs: false,
    top_logprobs: 0,
    tools: [],
    response_format: { type: 'text' },
    logit_bias: null,
    user: 'u',
    seed: null,
  }
  expect((await caller.post('/v1/chat/completions', chat(nothing))).status).toBe(200)
  const plain = { ...completion, echo: false, best_of: 1, suffix: null, logprobs: null, stop: null, n: null }
  expect((await caller.post('/v1/completions', plain)).status).toBe(200)
})

describe('a key that is refused', () => {
  const withKey = (authorization?: string) =>
    fetch(`${gateway.url}/v1/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...(authorization && { authorization }) },
      body: JSON.stringify(completion),
    })

  test.each<[string, string | undefined]>([
    ['is missing', undefined],
    ['is empty', 'Bearer '],
    ['has another scheme', 'Basic abc'],
    ['is malformed', 'Bearer sk-123'],
    ['has a wrong checksum', `Bearer zc_live_${'a'.repeat(36)}`],
    ['is well formed and unknown', `Bearer ${createKey()}`],
  ])('%s', async (_, authorization) => {
    expect(await errorOf(await withKey(authorization))).toMatchObject({ status: 401, code: 'invalid_api_key' })
  })

  test('was revoked', async () => {
    const revoked = await gateway.newCaller()
    expect((await revoked.post('/v1/completions', completion)).status).toBe(200)
    expect((await gateway.admin(`/admin/keys/${revoked.key_id}`, undefined, 'DELETE')).status).toBe(200)
    expect(await errorOf(await revoked.post('/v1/completions', completion))).toMatchObject({ status: 401 })
    expect(await errorOf(await revoked.get('/v1/balance'))).toMatchObject({ status: 401 })
    expect(await errorOf(await revoked.get('/v1/models'))).toMatchObject({ status: 401 })
  })

  const keyWith = async (own: object) => {
    const made = await gateway.admin('/admin/keys', { account_id: caller.account_id, name: 'k', ...own })
    const { key } = (await made.json()) as { key: string }
    return (path: string) =>
      path === '/v1/completions'
        ? withKey(`Bearer ${key}`)
        : fetch(gateway.url + path, { headers: { authorization: `Bearer ${key}` } })
  }

  test('has expired', async () => {
    const ask = await keyWith({ expires_at: '2020-01-01T00:00:00Z' })
    expect(await errorOf(await ask('/v1/completions'))).toMatchObject({ status: 401 })
  })

  test('lacks the scope', async () => {
    const reader = await keyWith({ scopes: ['usage'] })
    expect(await errorOf(await reader('/v1/completions'))).toMatchObject({ status: 403, code: 'missing_scope' })
    expect((await reader('/v1/balance')).status).toBe(200)
    const generator = await keyWith({ scopes: ['generate'] })
    expect(await errorOf(await generator('/v1/balance'))).toMatchObject({ status: 403, code: 'missing_scope' })
    expect((await generator('/v1/completions')).status).toBe(200)
  })

  test('is not for this model', async () => {
    const ask = await keyWith({ models: ['Ziya-Coding-34B-v1.0'] })
    expect(await errorOf(await ask('/v1/completions'))).toMatchObject({ status: 403, code: 'model_not_allowed' })
  })

  test('is no admin', async () => {
    const response = await caller.post('/admin/accounts', { name: 'mine' })
    expect(await errorOf(response)).toMatchObject({ status: 401, code: 'invalid_api_key' })
  })
})

describe('a path that is refused', () => {
  test.each(['/', '/v1', '/v1/embeddings', '/v1/usage/x/y', '/admin'])('%s is a 404', async (path) => {
    expect(await errorOf(await caller.get(path))).toMatchObject({ status: 404, code: 'not_found' })
  })

  test.each([
    ['/v1/completions', 'GET', 'POST'],
    ['/v1/models', 'DELETE', 'GET, HEAD'],
    ['/healthz', 'POST', 'GET, HEAD'],
    ['/admin/keys/1', 'POST', 'GET, HEAD, PATCH, DELETE'],
  ])('%s with %s is a 405 that allows %s', async (path, method, allow) => {
    const response = await fetch(gateway.url + path, { method })
    expect(response.headers.get('allow')).toBe(allow)
    expect(await errorOf(response)).toMatchObject({ status: 405, code: 'method_not_allowed' })
  })

  test('a usage id that is no id is a 404', async () => {
    expect(await errorOf(await caller.get('/v1/usage/x%00y'))).toMatchObject({ status: 404 })
  })

  test.each(['limit=0', 'limit=101', 'limit=x', 'after=x', 'colour=1'])('a usage query %s is a 400', async (query) => {
    expect((await errorOf(await caller.get(`/v1/usage?${query}`))).status).toBe(400)
  })
})

test('a HEAD request is answered as GET is, without a body', async () => {
  const response = await fetch(`${gateway.url}/healthz`, { method: 'HEAD' })
  expect([response.status, await response.text()]).toEqual([200, ''])
})

test('a model in the catalog that no node serves is a 503 that says when to retry', async () => {
  const response = await caller.post('/v1/completions', { model: 'Ziya-Coding-34B-v1.0', prompt: 'x', max_tokens: 1 })
  expect(response.headers.get('retry-after')).toBe('2')
  expect(response.headers.get('x-should-retry')).toBeNull()
  expect(await errorOf(response)).toMatchObject({ status: 503, code: 'model_unavailable' })
})

describe('what Postgres cannot read is a 400 that names it', () => {
  test.each([
    ['from=0000-01-01', 'from'],
    ['from=1969-12-31', 'from'],
    ['from=2026-01-01&to=0001-01-01', 'to'],
  ])('usage with %s', async (span, param) => {
    expect(await errorOf(await caller.get(`/v1/usage?group_by=day&${span}`))).toMatchObject({ status: 400, param })
  })

  test('but the longest span of days is a report', async () => {
    expect((await caller.get('/v1/usage?group_by=day&from=1970-01-01&to=9999-12-31')).status).toBe(200)
  })

  test.each([
    ['adjustments', { reference: 'a\0b' }, 'reference'],
    ['adjustments', { note: '\ud800' }, 'note'],
    ['top-ups', { reference: '\udfff' }, 'reference'],
    ['grants', { expires_at: '0000-01-01T00:00:00Z' }, 'expires_at'],
    ['grants', { expires_at: `2090-01-01T00:00:00.${'0'.repeat(200)}Z` }, 'expires_at'],
    ['prices', { model: 'a\0b' }, 'model'],
    ['prices', { valid_from: '0000-01-01T00:00:00Z' }, 'valid_from'],
  ])('of the operator in /admin/%s: %j', async (path, field, param) => {
    const entry = { account_id: caller.account_id, amount_nanousd: '1', reference: 'r' }
    const price = { model: 'm', input_nanousd_per_token: '1', output_nanousd_per_token: '1' }
    const more = { grants: { expires_at: '2090-01-01T00:00:00Z' }, adjustments: { direction: 'credit' } }[path]
    const body = { ...(path === 'prices' ? price : entry), ...more, ...field }
    expect(await errorOf(await gateway.admin(`/admin/${path}`, body))).toMatchObject({ status: 400, param })
  })

  test('as is a model with NUL in the query', async () => {
    const answer = await gateway.admin('/admin/prices?model=%00', undefined, 'GET')
    expect(await errorOf(answer)).toMatchObject({ status: 400, param: 'model' })
  })

  test('but any offset is read, and passed on in UTC', async () => {
    const grant = { account_id: caller.account_id, amount_nanousd: '1', reference: 'far east' }
    const answer = await gateway.admin('/admin/grants', { ...grant, expires_at: '2090-01-02T00:00:00+23:00' })
    expect([answer.status, await answer.json()]).toMatchObject([201, { expires_at: '2090-01-01T01:00:00.000Z' }])
  })
})

describe('whatever is sent', () => {
  const anyJson = fc.jsonValue({ maxDepth: 4 })
  const field = fc.constantFrom(
    ...[
      'model',
      'prompt',
      'messages',
      'n',
      'max_tokens',
      'stop',
      'stream',
      'seed',
      'temperature',
      'top_p',
      'top_k',
      'user',
    ],
    ...['stream_options', 'logprobs', 'tools', 'min_p', 'repetition_penalty', 'presence_penalty', '__proto__'],
    ...[
      'logit_bias',
      'stop_token_ids',
      'min_tokens',
      'ignore_eos',
      'include_stop_str_in_output',
      'echo',
      'top_logprobs',
      'truncate_prompt_tokens',
      'return_token_ids',
    ],
  )
  const almost = fc
    .tuple(fc.constantFrom<object>(completion, chatBody), fc.dictionary(field, anyJson, { maxKeys: 3 }))
    .map(([base, own]) => JSON.stringify({ ...base, ...own }))
  const broken = fc.tuple(almost, fc.nat(), fc.string({ unit: 'binary' })).map(([text, at, insert]) => {
    const cut = at % text.length
    return text.slice(0, cut) + insert + text.slice(cut + 1)
  })
  const paths = fc.constantFrom(
    '/v1/completions',
    '/v1/chat/completions',
    '/admin/accounts',
    '/admin/keys',
    '/admin/top-ups',
  )

  test('is never a 5xx, always in shape, and the next request works', async () => {
    await fc.assert(
      fc.asyncProperty(
        paths,
        fc.oneof(
          almost,
          broken,
          anyJson.map((v) => JSON.stringify(v)),
        ),
        async (path, body) => {
          const response = path.startsWith('/admin')
            ? await fetch(gateway.url + path, {
                method: 'POST',
                body,
                headers: { authorization: `Bearer ${gateway.admin_key}` },
              })
            : await caller.post(path, body)
          if (response.ok) return void (await response.arrayBuffer())
          expect(response.status).toBeLessThan(500)
          await errorOf(response)
        },
      ),
      { numRuns: draws('FUZZ', { few: 300, all: 3000 }) },
    )
    expect((await caller.post('/v1/completions', completion)).status).toBe(200)
  })
})

test('nothing of all this reached the log as an error, or was refused by the database', () => {
  const tried = /^refused: / // by whom a key or a role was missing, which is told to who watches
  expect(gateway.log.filter((line) => /Error|refused/.test(line) && !tried.test(line))).toEqual([])
})

function sendChunked(body: string): Promise<number> {
  const headers = { authorization: `Bearer ${caller.api_key}`, 'content-type': 'application/json' }
  return new Promise((done, fail) => {
    const req = rawRequest(`${gateway.url}/v1/completions`, { method: 'POST', headers }, (res) => {
      res.resume()
      done(res.statusCode!)
    })
    req.once('error', fail)
    for (let at = 0; at < body.length; at += 1 << 16) req.write(body.slice(at, at + (1 << 16)))
    req.end()
  })
}
