// What popular clients send as they are: every field of the installed OpenAI types, what their helpers put on messages, pages of another
// origin, and base URLs that are slightly wrong.

import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { GenerateRequest } from '../../contract/internal/generation.ts'
import { type Caller, chatBody, errorOf, model, startWithCaller, type TestGateway } from '../support/gateway.ts'

let gateway: TestGateway
let caller: Caller

const empty = fc.constantFrom(null, false, '', [], {})
const name = fc.string({ minLength: 1, maxLength: 80, unit: 'binary' }).filter((text) => text !== '__proto__')
const drawnField = fc.record({ name: name.map((text) => `~${text}`), value: fc.oneof(empty, fc.jsonValue()) })
// The first draw makes a table of all code points, which takes seconds: no node could report meanwhile, so it is made before one begins.
fc.sample(drawnField, 1)

beforeAll(async () => {
  ;[gateway, caller] = await startWithCaller()
})
afterAll(() => gateway?.stop())

const CHAT = '/v1/chat/completions'
const COMPLETIONS = '/v1/completions'
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
  const own = new Set(['model', 'messages', 'prompt'])
  const chat = fieldsOf('resources/chat/completions/completions.d.ts', 'ChatCompletionCreateParamsBase')
  const raw = fieldsOf('resources/completions.d.ts', 'CompletionCreateParamsBase')

  test('there are some', () => {
    expect(chat).toContain('prompt_cache_key')
    expect(raw).toContain('best_of')
  })

  // A value that no field takes: what is known is refused by its name or taken, never called unknown.
  test.each([
    ...chat.filter((name) => !own.has(name)).map((name) => [CHAT, name] as const),
    ...raw.filter((name) => !own.has(name)).map((name) => [COMPLETIONS, name] as const),
  ])('%s %s', async (path, name) => {
    const response = await caller.post(path, { ...(path === CHAT ? chatBody : completion), [name]: [[0.5]] })
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
    ['how it is kept', CHAT, { store: true, metadata: { a: 'b' }, service_tier: 'flex' }, []],
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
    const seed = Date.now() % 1e9
    console.log(`clients: seed ${seed}`)
    await fc.assert(
      fc.asyncProperty(drawnField, async ({ name, value }) => {
        const is_empty = value === null || value === false || ['""', '[]', '{}'].includes(JSON.stringify(value))
        const response = await caller.post(CHAT, { ...chatBody, [name]: value })
        expect([response.status, ignored(response).length]).toEqual(is_empty ? [200, 1] : [400, 0])
      }),
      { seed, numRuns: 40 },
    )
  })
})

describe('response_format', () => {
  const schema = { type: 'object', properties: {}, additionalProperties: false }

  test.each([
    [{ type: 'text' }, undefined],
    [{ type: 'json_object' }, { kind: 'json' }],
    [
      { type: 'json_schema', json_schema: { name: 'a', schema, strict: true } },
      { kind: 'json_schema', schema },
    ],
    [
      { type: 'json_schema', json_schema: { name: 'a', description: 'd' } },
      { kind: 'json_schema', schema: {} },
    ],
    [
      { type: 'regex', pattern: 'a+' },
      { kind: 'regex', regex: 'a+' },
    ],
    [
      { type: 'grammar', grammar: 'root ::= "a"' },
      { kind: 'grammar', grammar: 'root ::= "a"' },
    ],
  ])('%j is what the node is asked for', async (response_format, constraint) => {
    const { request, ignored } = await asked(CHAT, { ...chatBody, response_format })
    expect(request.constraint).toEqual(constraint)
    expect(ignored).toEqual([])
  })

  test('that the node cannot hold is refused in its words, and costs nothing', async () => {
    gateway.node.options.refuse = 'invalid_constraint'
    const response = await caller.post(CHAT, { ...chatBody, response_format: { type: 'json_object' } })
    gateway.node.calm()
    expect(await errorOf(response)).toMatchObject({
      status: 400,
      code: 'invalid_response_format',
      message: 'the node refuses: invalid_constraint',
    })
  })

  test.each([
    'guided_json',
    'guided_regex',
    'guided_grammar',
    'guided_choice',
    'structured_outputs',
    'grammar',
    'json_schema',
  ])('by another name, %s, is refused by that name', async (name) => {
    const response = await caller.post(CHAT, { ...chatBody, [name]: 'a' })
    expect(await errorOf(response)).toMatchObject({ status: 400, code: 'unknown_parameter', param: name })
  })
})

describe('tools', () => {
  const parameters = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] }
  const tool = (name: string, more: object = {}) => ({ type: 'function', function: { name, ...more } })
  const tools = [tool('weather', { description: 'Tells it.', parameters, strict: true }), tool('now')]
  const named = (name: string) => ({ type: 'function', function: { name } })
  const allowed = (mode: string, ...names: string[]) => ({
    type: 'allowed_tools',
    allowed_tools: { mode, tools: names.map(named) },
  })
  const weather = { name: 'weather', parameters }
  const now = { name: 'now', parameters: null }

  test.each<[string, object, object | undefined]>([
    ['may be called by default', {}, { tools: [weather, now], calls: 'allowed', is_parallel: true }],
    ['one at a time', { parallel_tool_calls: false }, { tools: [weather, now], calls: 'allowed', is_parallel: false }],
    ['must be called', { tool_choice: 'required' }, { tools: [weather, now], calls: 'required', is_parallel: true }],
    ['must not', { tool_choice: 'none' }, undefined],
    ['by name', { tool_choice: named('now') }, { tools: [now], calls: 'required', is_parallel: false }],
    ['some of them', { tool_choice: allowed('auto', 'now') }, { tools: [now], calls: 'allowed', is_parallel: true }],
    [
      'must, some of them',
      { tool_choice: allowed('required', 'weather') },
      { tools: [weather], calls: 'required', is_parallel: true },
    ],
    [
      'beside a schema',
      { response_format: { type: 'json_object' } },
      { tools: [weather, now], calls: 'allowed', is_parallel: true, text: { kind: 'json' } },
    ],
  ])('%s', async (_, fields, constraint) => {
    const { request, ignored } = await asked(CHAT, { ...chatBody, tools, ...fields })
    expect(request.constraint).toEqual(constraint && { kind: 'tools', ...constraint })
    expect(ignored).toEqual([])
    const prompt = JSON.stringify(request.prompts[0])
    expect(prompt.includes('Tells it.')).toBe(constraint !== undefined)
  })

  test('their calls and results are written in the conversation, as an answer has them', async () => {
    const call = (id: string, name: string, text: string) => ({
      id,
      type: 'function',
      function: { name, arguments: text },
    })
    const messages = [
      { role: 'system', content: 'S' },
      { role: 'user', content: 'q' },
      {
        role: 'assistant',
        content: 'I ask.',
        tool_calls: [call('c1', 'weather', '{"city": "Rome"}'), call('c2', 'now', '')],
      },
      { role: 'tool', tool_call_id: 'c2', content: '12:00' },
      { role: 'tool', tool_call_id: 'c1', content: [{ type: 'text', text: 'rain' }] },
    ]
    const { request, ignored } = await asked(CHAT, { model, messages, tools: [tools[1]] })
    expect(ignored).toEqual([])
    expect(request.prompts[0]!.map((part) => ('text' in part ? part.text : '')).join('')).toBe(`S
You may call these functions, each given with the JSON schema of its arguments:
{"name":"now"}
A call is a line of this form, with nothing behind it but further calls:
<tool_call>{"name": "NAME", "arguments": {...}}</tool_call>
<human>: 
q
<bot>: 
I ask.
<tool_call>{"name": "weather", "arguments": {"city": "Rome"}}</tool_call>
<tool_call>{"name": "now", "arguments": {}}</tool_call>
<human>: 
<tool_response name="now">
12:00
</tool_response>
<tool_response name="weather">
rain
</tool_response>
<bot>: 
`)
  })

  test('calls without their results are not continued', async () => {
    const tool_calls = [{ id: 'c', type: 'function', function: { name: 'now', arguments: '{}' } }]
    const messages = [...chatBody.messages, { role: 'assistant', content: null, tool_calls }]
    const { request } = await asked(CHAT, { model, messages })
    expect(request.prompts[0]!.at(-1)).toEqual({ text: expect.stringMatching(/<\/tool_call>\n<bot>: \n$/) })
  })

  test('what of them goes for nothing is named', async () => {
    const given = [{ ...tools[1], cache_control: { type: 'ephemeral' } }, tool('a', { x: 1 })]
    expect((await asked(CHAT, { ...chatBody, tools: given })).ignored).toEqual([
      'tools[0].cache_control',
      'tools[1].function.x',
    ])
  })

  test.each<[string, object, string]>([
    ['a choice that is not among them', { tools, tool_choice: named('x') }, 'tool_choice'],
    ['an allowed one that is not', { tools, tool_choice: allowed('auto', 'now', 'x') }, 'tool_choice'],
    ['a choice of another form', { tools, tool_choice: 'any' }, 'tool_choice'],
    ['one name twice', { tools: [tool('a'), tool('a')] }, 'tools'],
    ['a name with a space', { tools: [tool('a b')] }, 'tools[0].function.name'],
    ['parameters that are no schema', { tools: [tool('a', { parameters: [] })] }, 'tools[0].function.parameters'],
    ['too many', { tools: Array.from({ length: 129 }, (_, i) => tool(`t${i}`)) }, 'tools'],
    ['more than any grammar', { tools: [tool('a', { description: 'x'.repeat(300_000) })] }, 'tools'],
    [
      'a result without its call',
      { messages: [{ role: 'tool', tool_call_id: 'c', content: 'x' }] },
      'messages[0].tool_call_id',
    ],
    [
      'calls of a user',
      {
        messages: [
          {
            role: 'user',
            content: 'x',
            tool_calls: [{ id: 'c', type: 'function', function: { name: 'a', arguments: '{}' } }],
          },
        ],
      },
      'messages[0].tool_calls',
    ],
    [
      'a call without arguments',
      { messages: [{ role: 'assistant', tool_calls: [{ id: 'c', type: 'function', function: { name: 'a' } }] }] },
      'messages[0].tool_calls[0].function.arguments',
    ],
  ])('%s is refused by name', async (_, fields, param) => {
    expect(await errorOf(await caller.post(CHAT, { ...chatBody, ...fields }))).toMatchObject({ status: 400, param })
  })

  test('that the node cannot hold are refused in its words', async () => {
    gateway.node.options.refuse = 'invalid_tools'
    const response = await caller.post(CHAT, { ...chatBody, tools })
    gateway.node.calm()
    expect(await errorOf(response)).toMatchObject({
      status: 400,
      code: 'invalid_function_parameters',
      message: 'the node refuses: invalid_tools',
    })
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

  test('of the assistant may be empty; of others not', async () => {
    expect((await text([q, { role: 'assistant', content: null }, q]))[0]).toBe('<human>: \nq\n<bot>: \n\n<human>: \nq\n<bot>: \n') // biome-ignore format: one line
    const refused = await caller.post(CHAT, { model, messages: [{ role: 'user' }] })
    expect(await errorOf(refused)).toMatchObject({ status: 400, param: 'messages[0].content' })
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
  expect(await predicted([{ type: 'text', text: 'a' }, { type: 'text', text: 'b' }])).toBe('ab') // biome-ignore format: one line
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
