// What popular clients send as they are: every field of the installed OpenAI types, what their helpers put on messages, pages of another
// origin, and base URLs that are slightly wrong.

import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { GenerateRequest } from '../../contract/internal/generation.ts'
import { type Caller, chatBody, errorOf, model, startWithCaller, type TestGateway } from '../support/gateway.ts'
import { randomText, seededRandom } from '../support/random.ts'

let gateway: TestGateway
let caller: Caller

beforeAll(async () => {
  ;[gateway, caller] = await startWithCaller()
})
afterAll(() => gateway?.stop())

const CHAT = '/v1/chat/completions'
const COMPLETIONS = '/v1/completions'
const RESPONSES = '/v1/responses'
const completion = { model, prompt: 'def f():' }

const ignored = (response: Response) => response.headers.get('x-ignored-parameters')?.split(', ') ?? []

async function asked(path: string, body: object): Promise<{ request: GenerateRequest; ignored: string[] }> {
  const response = await caller.post(path, body)
  expect(response.status, await response.text()).toBe(200)
  return { request: gateway.node.accepted.at(-1)!.request, ignored: ignored(response) }
}

/** The names of the fields of an interface of the installed package. */
function fieldsOf(file: string, name: string): string[] {
  const root = dirname(createRequire(import.meta.url).resolve('openai'))
  const source = readFileSync(join(root, file), 'utf8')
  const start = source.indexOf(`export interface ${name} `)
  const body = source.slice(start, source.indexOf('\n}', start))
  return Array.from(body.matchAll(/^ {4}([a-z_]+)\??:/gm), ([, field]) => field!)
}

describe('every field of the OpenAI types is known: taken, used, or refused by its name', () => {
  const bodies: Record<string, object> = {
    [CHAT]: chatBody,
    [COMPLETIONS]: completion,
    [RESPONSES]: { model, input: 'q' },
  }
  const chat = fieldsOf('resources/chat/completions/completions.d.ts', 'ChatCompletionCreateParamsBase')
  const raw = fieldsOf('resources/completions.d.ts', 'CompletionCreateParamsBase')
  const responses = fieldsOf('resources/responses/responses.d.ts', 'ResponseCreateParamsBase')

  test('there are some', () => {
    expect(chat).toContain('prompt_cache_key')
    expect(raw).toContain('best_of')
    expect(responses).toContain('previous_response_id')
  })

  // A value that no field takes: what is known is refused by its name or taken, never called unknown.
  test.each(
    [
      ...chat.map((name) => [CHAT, name] as const),
      ...raw.map((name) => [COMPLETIONS, name] as const),
      ...responses.map((name) => [RESPONSES, name] as const),
    ].filter(([path, name]) => !(name in bodies[path]!)),
  )('%s %s', async (path, name) => {
    const response = await caller.post(path, { ...bodies[path], [name]: [[0.5]] })
    if (response.status === 200) expect(ignored(response)).toContain(name)
    else {
      const param = expect.stringMatching(new RegExp(`^${name}(?:$|[.[])`))
      expect(await errorOf(response)).toMatchObject({ status: 400, code: /^(invalid|unsupported)_/, param })
    }
  })
})

describe('what cannot change an answer is taken, and named', () => {
  test.each<[string, string, object, string[]]>([
    ['hints of caches and of safety', CHAT, { prompt_cache_key: 'ses_1', safety_identifier: 'u' }, []],
    ['another price than is sold', CHAT, { service_tier: 'priority' }, []],
    ['switches of tools without tools', CHAT, { tool_choice: 'auto', parallel_tool_calls: false }, []],
    ['the older switch', CHAT, { function_call: 'auto' }, []],
    ['no reasoning', CHAT, { reasoning_effort: 'none', verbosity: 'medium' }, []],
    ['the same in a completion', COMPLETIONS, { store: true, prompt_cache_retention: '24h', cache_prompt: true }, []],
    ['unknown fields that ask for nothing', CHAT, { a1: null, b2: '', c3: [], d4: {}, e5: false }, []],
  ])('%s', async (_, path, fields, names) => {
    const { ignored } = await asked(path, { ...(path === CHAT ? chatBody : completion), ...fields })
    expect(ignored.toSorted()).toEqual((names.length > 0 ? names : Object.keys(fields)).toSorted())
  })

  test('nothing is named where all is used', async () => {
    const used = { temperature: 0, tools: [], response_format: { type: 'text' }, logprobs: null, stop: 'x', user: 'u' }
    expect((await asked(CHAT, { ...chatBody, ...used })).ignored).toEqual([])
  })

  test('drawn: an unknown field is taken exactly where it is empty, and a header can carry any name', async () => {
    const random = seededRandom()
    for (let i = 0; i < 40; i += 1) {
      const is_empty = random.chance(0.5)
      const value = random.pick<unknown>(
        is_empty ? [null, false, '', [], {}] : [true, 0, -0.5, ' ', 'x', [null], [[]], { a: null }],
      )
      const name = `~${randomText(random)}`
      const response = await caller.post(CHAT, { ...chatBody, [name]: value })
      expect([name, response.status, ignored(response).length]).toEqual([name, ...(is_empty ? [200, 1] : [400, 0])])
    }
  })
})

describe('messages', () => {
  const text = async (messages: object[], more: object = {}) => {
    const { request, ignored } = await asked(CHAT, { model, messages, ...more })
    return [request.prompts[0]!.map((part) => ('text' in part ? part.text : '')).join(''), ignored] as const
  }
  const q = { role: 'user', content: 'q' }

  test('carry what helpers put on them, which is named', async () => {
    const [prompt, names] = await text([
      { ...q, name: 'ann', id: 'm1', opts: { visible: true } },
      { role: 'assistant', content: 'a', reasoning_content: 'r', tool_call_id: null, refusal: null, parsed: null },
      { role: 'user', content: [{ type: 'text', text: 'q2', cache_control: { type: 'ephemeral' } }] },
    ])
    expect(prompt).toBe('<human>: \nq\n<bot>: \na\n<human>: \nq2\n<bot>: \n')
    const of = (at: number, ...fields: string[]) => fields.map((field) => `messages[${at}].${field}`)
    const helpers = of(1, 'reasoning_content', 'parsed')
    expect(names.toSorted()).toEqual(
      [...of(0, 'name', 'id', 'opts'), ...helpers, 'messages[2].content[0].cache_control'].toSorted(),
    )
  })

  test('come in any order, and are written where they stand', async () => {
    const [prompt] = await text([
      { role: 'assistant', content: 'hi' },
      { role: 'developer', content: 'S' },
      q,
      { role: 'system', content: 'T' },
    ])
    expect(prompt).toBe('<bot>: \nhi\nS\n<human>: \nq\nT\n<bot>: \n')
  })

  test('end with an answer that is continued, or with another after it where that is asked for', async () => {
    const begun = [q, { role: 'assistant', content: 'def f(' }]
    expect((await text(begun))[0]).toBe('<human>: \nq\n<bot>: \ndef f(')
    const flags = { add_generation_prompt: false, continue_final_message: true }
    expect((await text(begun, flags))[0]).toBe('<human>: \nq\n<bot>: \ndef f(')
    const closed = '<human>: \nq\n<bot>: \ndef f(\n<bot>: \n'
    expect((await text(begun, { continue_final_message: false }))[0]).toBe(closed)
    expect((await text(begun, { add_generation_prompt: true }))[0]).toBe(closed)
  })

  test('of a tool come after the call that they name', async () => {
    const call = { id: 'c1', type: 'function', function: { name: 'f', arguments: '{}' } }
    const called = { role: 'assistant', content: null, tool_calls: [call] }
    const result = { role: 'tool', tool_call_id: 'c1', content: '1' }
    expect((await text([q, called, result]))[0]).toContain('1')
    for (const [messages, at] of [
      [[q, result], 1],
      [[q, result, called], 1],
      [[q, called, { ...result, tool_call_id: 'c2' }], 2],
      [[q, called, result, { role: 'tool', content: '2' }], 3],
    ] as const) {
      const refused = await caller.post(CHAT, { model, messages })
      expect(await errorOf(refused)).toMatchObject({ status: 400, param: `messages[${at}].tool_call_id` })
    }
  })

  test('of the assistant may be empty; of others not', async () => {
    expect((await text([q, { role: 'assistant', content: null }, q]))[0]).toBe(
      '<human>: \nq\n<bot>: \n\n<human>: \nq\n<bot>: \n',
    )
    const refused = await caller.post(CHAT, { model, messages: [{ role: 'user' }] })
    expect(await errorOf(refused)).toMatchObject({ status: 400, param: 'messages[0].content' })
  })
})

describe('tools', () => {
  const tool = (name: string) => ({ type: 'function', function: { name } })
  const tools = ['a', 'b', 'c'].map(tool)
  const allowed = (mode: string, ...names: string[]) => ({
    type: 'allowed_tools',
    allowed_tools: { mode, tools: names.map(tool) },
  })

  test.each([
    ['auto', ['a', 'b', 'c'], 'allowed'],
    ['required', ['a', 'b', 'c'], 'required'],
    [tool('b'), ['b'], 'required'],
    [allowed('auto', 'a', 'c'), ['a', 'c'], 'allowed'],
    [allowed('required', 'c'), ['c'], 'required'],
  ])('by %j may be called: %j', async (tool_choice, names, calls) => {
    const { request } = await asked(CHAT, { ...chatBody, tools, tool_choice })
    expect(request.constraint).toMatchObject({ kind: 'tools', calls, tools: names.map((name) => ({ name })) })
  })

  test('may not be called, nor are they told, by none', async () => {
    const { request } = await asked(CHAT, { ...chatBody, tools, tool_choice: 'none' })
    const plain = await asked(CHAT, chatBody)
    expect([request.constraint, request.prompts]).toEqual([plain.request.constraint, plain.request.prompts])
  })
})

test('stops: as many as Continue sends; blank ones ask for nothing', async () => {
  const nine = ['\n\n', '\r\n\r\n', '/src/', '#- coding: utf-8', '```', '<fim>', '', '<eot>', '\nfunction']
  expect((await asked(COMPLETIONS, { ...completion, stop: nine })).request.stop).toEqual(nine.filter(Boolean))
  expect((await asked(COMPLETIONS, { ...completion, stop: '' })).request.stop).toEqual([])
  expect((await asked(COMPLETIONS, { ...completion, stop: [''] })).request.stop).toEqual([])
})

test('usage in every chunk goes with usage in the last', async () => {
  const stream_options = { include_usage: true, continuous_usage_stats: true }
  expect((await asked(CHAT, { ...chatBody, stream: true, stream_options })).request.continuous_usage).toBe(true)
  const alone = { ...chatBody, stream: true, stream_options: { continuous_usage_stats: true } }
  const param = 'stream_options.continuous_usage_stats'
  expect(await errorOf(await caller.post(CHAT, alone))).toMatchObject({ status: 400, param })
})

test('a prediction goes to the node, as text or as parts', async () => {
  const predicted = async (content: unknown) =>
    (await asked(CHAT, { ...chatBody, prediction: { type: 'content', content } })).request.prediction
  expect(await predicted('def')).toBe('def')
  expect(
    await predicted([
      { type: 'text', text: 'a' },
      { type: 'text', text: 'b' },
    ]),
  ).toBe('ab')
  expect(await predicted('')).toBeUndefined()
})

test('-1 is off for top_k, and no limit for max_tokens', async () => {
  const { request } = await asked(COMPLETIONS, { ...completion, top_k: -1, max_tokens: -1 })
  expect([request.sampling.top_k, request.max_tokens_is_default, request.max_tokens]).toEqual([0, true, 512])
})

describe('a page of another origin', () => {
  const origin = 'https://app.example'

  test('may ask: its preflight is answered before any key is looked at, with the headers that it names', async () => {
    const wanted = 'authorization,content-type,x-stainless-retry-count,x-another'
    const response = await fetch(gateway.url + CHAT, {
      method: 'OPTIONS',
      headers: { origin, 'access-control-request-method': 'POST', 'access-control-request-headers': wanted },
    })
    expect(response.status).toBe(204)
    expect(response.headers.get('access-control-allow-origin')).toBe('*')
    expect(response.headers.get('access-control-allow-methods')).toContain('POST')
    expect(response.headers.get('access-control-allow-headers')).toBe(wanted)
    expect(response.headers.get('access-control-allow-credentials')).toBeNull()
  })

  test.each<[string, () => Promise<Response>, number]>([
    ['an answer', () => caller.post(CHAT, chatBody, { headers: { origin } }), 200],
    ['a stream', () => caller.post(CHAT, { ...chatBody, stream: true }, { headers: { origin } }), 200],
    ['a body that is refused', () => caller.post(CHAT, {}, { headers: { origin } }), 400],
    ['a key that is refused', () => fetch(`${gateway.url}/v1/models`, { headers: { origin } }), 401],
    ['a path that is not there', () => fetch(`${gateway.url}/v1/nothing`, { headers: { origin } }), 404],
    ['a method that is not', () => fetch(`${gateway.url}/v1/models`, { method: 'DELETE', headers: { origin } }), 405],
  ])('reads %s', async (_, ask, status) => {
    const response = await ask()
    await response.body?.cancel()
    expect([response.status, response.headers.get('access-control-allow-origin')]).toEqual([status, '*'])
    expect(response.headers.get('access-control-expose-headers')).toContain('x-request-id')
  })

  test.each(['/admin/accounts', '/internal/sync', '/healthz', '/metrics'])('is told nothing at %s', async (path) => {
    for (const method of ['OPTIONS', 'GET']) {
      const response = await fetch(gateway.url + path, {
        method,
        headers: { origin, 'access-control-request-method': 'POST' },
      })
      expect([...response.headers.keys()].filter((name) => name.startsWith('access-control'))).toEqual([])
    }
  })
})

test('a stream tells proxies to pass it on as it comes', async () => {
  const response = await caller.post(CHAT, { ...chatBody, stream: true })
  await response.body?.cancel()
  expect(response.headers.get('x-accel-buffering')).toBe('no')
  expect(response.headers.get('cache-control')).toContain('no-transform')
})

test.each([
  ['/chat/completions', CHAT],
  ['/v1/v1/chat/completions', CHAT],
  ['//v1//chat/completions', CHAT],
  ['/v1/chat/completions/', CHAT],
  ['/api/v1/models', '/v1/models'],
  ['/v1/keys/7/', '/v1/keys/7'],
  ['/v1/embeddings', null],
])('the base URL of %s is slightly wrong, and the error says what there is', async (path, meant) => {
  const { status, code, message } = await errorOf(await caller.post(path, chatBody))
  expect([status, code]).toEqual([404, 'not_found'])
  expect(message).toContain(path)
  if (meant) expect(message).toContain(`Did you mean ${meant}?`)
  else expect(message).not.toContain('mean')
})

test('a missing key is told how it is sent; two spaces before it do not matter', async () => {
  const response = await fetch(`${gateway.url}/v1/models`)
  expect(response.headers.get('www-authenticate')).toBe('Bearer')
  expect((await errorOf(response)).message).toContain('Authorization: Bearer')
  const spaced = await fetch(`${gateway.url}/v1/models`, { headers: { authorization: `Bearer  ${caller.api_key}` } })
  expect(spaced.status).toBe(200)
})

test('a receipt is found by the id of the answer', async () => {
  for (const [path, body] of [
    [CHAT, chatBody],
    [COMPLETIONS, completion],
  ] as const) {
    const response = await caller.post(path, body)
    const { id } = (await response.json()) as { id: string }
    const receipt = await caller.get(`/v1/usage/${id}`)
    expect(receipt.status).toBe(200)
    expect(await receipt.json()).toMatchObject({ request_id: response.headers.get('x-request-id') })
  }
})

test('the list of models is of those that the key may use, and says which are served', async () => {
  const listed = async (api_key: string) => {
    const response = await fetch(`${gateway.url}/v1/models`, { headers: { authorization: `Bearer ${api_key}` } })
    const { data } = (await response.json()) as { data: { id: string; available: boolean }[] }
    return Object.fromEntries(data.map(({ id, available }) => [id, available]))
  }
  const all = await listed(caller.api_key)
  expect(all).toMatchObject({ [model]: true, 'Ziya-Coding-34B-v1.0': false })
  const few = { account_id: caller.account_id, name: 'few', models: ['Ziya-Coding-34B-v1.0'] }
  const { key } = (await (await gateway.admin('/admin/keys', few)).json()) as { key: string }
  expect(await listed(key)).toEqual({ 'Ziya-Coding-34B-v1.0': false })
  const other = await fetch(`${gateway.url}/v1/models/${model}`, { headers: { authorization: `Bearer ${key}` } })
  expect(await errorOf(other)).toMatchObject({ status: 403, code: 'model_not_allowed' })
})

test('a large body gets its refusal, however much is still being sent', async () => {
  for (let turn = 0; turn < 2; turn += 1) {
    const response = await caller.post(COMPLETIONS, { ...completion, prompt: 'x'.repeat(24 << 20) })
    expect(await errorOf(response)).toMatchObject({ status: 413, code: 'body_too_large' })
  }
})

test('a body may be left out where all of it may', async () => {
  const few = { account_id: caller.account_id, name: 'rotated', scopes: ['keys'] }
  const { key, id } = (await (await gateway.admin('/admin/keys', few)).json()) as { key: string; id: string }
  const headers = { authorization: `Bearer ${key}` }
  const response = await fetch(`${gateway.url}/v1/keys/${id}/rotate`, { method: 'POST', headers })
  expect(response.status).toBe(201)
  await response.body?.cancel()
})
