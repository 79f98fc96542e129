// The Messages API: what it takes, what it refuses and how, and that it is one more form over the path that all generations take.

import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { GenerateRequest } from '../../contract/internal/generation.ts'
import type { Message, MessageError } from '../../contract/public/messages.ts'
import { type Caller, model, startWithCaller, type TestGateway } from '../support/gateway.ts'
import { expectDocumentedEvent } from '../support/openapi.ts'

let gateway: TestGateway
let caller: Caller

beforeAll(async () => {
  ;[gateway, caller] = await startWithCaller()
})
afterAll(() => gateway?.stop())
afterEach(() => gateway.node.calm())

const MESSAGES = '/v1/messages'
const COUNT = '/v1/messages/count_tokens'
const q = { role: 'user', content: 'q' }
const body = { model, max_tokens: 16, messages: [q] }
const schema = { type: 'object', properties: { place: { type: 'string' } }, required: ['place'] }
const tool = { name: 't', description: 'T', input_schema: schema }
const call = { type: 'tool_use', id: 'toolu_1', name: 't', input: { place: 'x' } }
const result = { type: 'tool_result', tool_use_id: 'toolu_1' }
const said = (...content: object[]) => ({ role: 'assistant', content })

const ignored = (response: Response) => response.headers.get('x-ignored-parameters')?.split(', ') ?? []

async function asked(changes: object): Promise<{ request: GenerateRequest; ignored: string[]; answer: Message }> {
  const response = await caller.post(MESSAGES, { ...body, ...changes })
  const text = await response.text()
  expect(response.status, text).toBe(200)
  const { request } = gateway.node.accepted.at(-1)!
  return { request, ignored: ignored(response), answer: JSON.parse(text) as Message }
}

async function refused(response: Response) {
  const { type, error, request_id } = (await response.json()) as MessageError
  expect(type).toBe('error')
  expect(request_id).toBe(response.headers.get('request-id'))
  expect(request_id).toMatch(/^[0-9a-f-]{36}$/)
  const { details, ...told } = error
  return { status: response.status, ...told, ...details }
}

const promptOf = ({ prompts }: GenerateRequest) => prompts[0]!.map((part) => ('text' in part ? part.text : '')).join('')

describe('a message', () => {
  test('is asked and answered in Anthropic’s form, and billed as any generation', async () => {
    const { request, answer } = await asked({ stop_sequences: ['END', ''], temperature: 0.3, top_p: 0.9, top_k: 4 })
    expect(request).toMatchObject({ shape: 'message', n: 1, max_tokens: 16, stop: ['END'], logprobs: null })
    expect(request.sampling).toMatchObject({ temperature: 0.3, top_p: 0.9, top_k: 4 })
    expect(answer).toMatchObject({
      id: `msg_${request.request_id.replaceAll('-', '')}`,
      content: [{ type: 'text', text: ' token token token' }],
      stop_reason: 'end_turn',
      usage: { input_tokens: 5, output_tokens: 3 },
    })
    const receipt = await caller.get(`/v1/usage/${answer.id}`)
    expect(await receipt.json()).toMatchObject({ request_id: request.request_id, model })
  })

  test('is streamed in named events, each as the document has it', async () => {
    const response = await caller.post(MESSAGES, { ...body, stream: true })
    const events = Array.from((await response.text()).matchAll(/^event: (\w+)\ndata: (.*)\n\n/gm))
    const names = ['message_start', 'content_block_start', 'ping', ...Array(3).fill('content_block_delta')]
    expect(events.map(([, name]) => name)).toEqual([...names, 'content_block_stop', 'message_delta', 'message_stop'])
    for (const [, name, data] of events) {
      expect(JSON.parse(data!).type).toBe(name)
      expectDocumentedEvent(MESSAGES, JSON.parse(data!))
    }
  })

  test.each([false, true])('that is asked again with its Idempotency-Key is the same (stream: %s)', async (stream) => {
    const init = { headers: { 'idempotency-key': `messages ${stream}` } }
    const ask = () => caller.post(MESSAGES, { ...body, stream }, init)
    const first = await (await ask()).text()
    const runs = gateway.node.accepted.length
    const again = await ask()
    expect(await again.text()).toBe(first)
    expect(again.headers.get('idempotency-replayed')).toBe('true')
    expect(gateway.node.accepted.length).toBe(runs)
  })

  test('has instructions, turns and a beginning of its answer', async () => {
    const { request } = await asked({
      system: [
        { type: 'text', text: 'S' },
        { type: 'text', text: 'T' },
      ],
      messages: [
        { role: 'user', content: [{ type: 'text', text: 'a' }] },
        { role: 'user', content: 'b' },
        { role: 'assistant', content: 'def f(' },
      ],
    })
    expect(promptOf(request)).toBe('ST\n<human>: \na\nb\n<bot>: \ndef f(')
    const plain = await asked({ system: 'S', messages: [q, { role: 'system', content: 'T' }] })
    expect(promptOf(plain.request)).toBe('S\n<human>: \nq\nT\n<bot>: \n')
  })
})

describe('tools', () => {
  const constraintOf = async (changes: object) => (await asked({ tools: [tool], ...changes })).request.constraint
  const held = { kind: 'tools', tools: [{ name: 't', parameters: schema }], calls: 'allowed', is_parallel: true }

  test.each<[string, object, object | undefined]>([
    ['no choice', {}, held],
    ['auto', { tool_choice: { type: 'auto' } }, held],
    ['auto, once', { tool_choice: { type: 'auto', disable_parallel_tool_use: true } }, { ...held, is_parallel: false }],
    ['any', { tool_choice: { type: 'any' } }, { ...held, calls: 'required' }],
    [
      'one',
      { tool_choice: { type: 'tool', name: 't' }, tools: [tool, { ...tool, name: 'other' }] },
      { ...held, calls: 'required', is_parallel: false },
    ],
    ['none', { tool_choice: { type: 'none' } }, undefined],
    [
      'beside a format',
      { output_config: { format: { type: 'json_schema', schema } } },
      { ...held, text: { kind: 'json_schema', schema } },
    ],
  ])('are held as a chat holds them: %s', async (_, changes, expected) => {
    expect(await constraintOf(changes)).toEqual(expected)
  })

  test('are told, with calls and results where they stand in the conversation', async () => {
    const messages = [
      q,
      said({ type: 'text', text: 'I ' }, { type: 'text', text: 'look.' }, call, { ...call, id: 'toolu_2' }),
      {
        role: 'user',
        content: [
          { ...result, content: [{ type: 'text', text: 'rain' }] },
          { ...result, tool_use_id: 'toolu_2', content: 'failed', is_error: true },
          { type: 'text', text: 'and now?' },
        ],
      },
    ]
    const { request, ignored } = await asked({ system: 'S', tools: [tool], messages })
    const [system, rest] = promptOf(request).split('\n<human>: \nq')
    expect(system).toMatch(/^S\nYou may call these functions/)
    const told = { name: 't', description: 'T', parameters: schema }
    expect(system).toContain(JSON.stringify(told))
    const written = '<tool_call>{"name": "t", "arguments": {"place":"x"}}</tool_call>'
    expect(rest).toBe(
      [
        '\n<bot>: \nI look.',
        written,
        written,
        '<human>: \n<tool_response name="t">\nrain\n</tool_response>',
        '<tool_response name="t" error="true">\nfailed\n</tool_response>',
        'and now?\n<bot>: \n',
      ].join('\n'),
    )
    expect(ignored).toEqual([])
  })

  test('that come back as they were answered are taken, and what no template writes is named', async () => {
    const answered = { ...call, caller: { type: 'direct' } }
    const { request, ignored } = await asked({
      tools: [{ ...tool, cache_control: { type: 'ephemeral' } }],
      messages: [q, said(answered), { role: 'user', content: [{ ...result, cache_control: null }] }],
    })
    expect(promptOf(request)).toContain('<tool_response name="t">\n\n</tool_response>\n<bot>: \n')
    expect(ignored.toSorted()).toEqual([
      'messages[1].content[0].caller',
      'messages[2].content[0].cache_control',
      'tools[0].cache_control',
    ])
  })

  test('a call at the end is not continued: an answer begins', async () => {
    expect(promptOf((await asked({ messages: [q, said(call)] })).request)).toMatch(/<\/tool_call>\n<bot>: \n$/)
  })

  test('are counted with the tokens', async () => {
    const { max_tokens: _, ...counted } = body
    expect((await caller.post(COUNT, { ...counted, tools: [tool] })).status).toBe(200)
    expect(JSON.stringify(gateway.node.questions.at(-1))).toContain('You may call these functions')
  })
})

test('a format is held as a schema', async () => {
  const format = { type: 'json_schema', schema }
  expect((await asked({ output_config: { format } })).request.constraint).toEqual({ kind: 'json_schema', schema })
})

describe('a key', () => {
  const ask = (headers: Record<string, string>) =>
    fetch(gateway.url + MESSAGES, {
      method: 'POST',
      body: JSON.stringify(body),
      headers: { 'content-type': 'application/json', ...headers },
    })

  test('comes as x-api-key or as Bearer, with either version', async () => {
    const { api_key } = caller
    for (const headers of [{ 'x-api-key': api_key }, { authorization: `Bearer ${api_key}` }] as Record<
      string,
      string
    >[])
      for (const version of ['2023-06-01', '2026-10-21'])
        expect((await ask({ ...headers, 'anthropic-version': version })).status).toBe(200)
    expect(await refused(await ask({}))).toMatchObject({ status: 401, type: 'authentication_error' })
    expect(await refused(await ask({ 'x-api-key': `${api_key}0` }))).toMatchObject({ status: 401 })
  })

  test('of operators does not', async () => {
    const answer = await fetch(`${gateway.url}/admin/accounts`, { headers: { 'x-api-key': gateway.admin_key } })
    expect(answer.status).toBe(401)
  })

  test('with another version of the form is refused', async () => {
    const answer = await ask({ 'x-api-key': caller.api_key, 'anthropic-version': '2029-01-01' })
    expect(await refused(answer)).toMatchObject({ status: 400, param: 'anthropic-version' })
  })
})

describe('fields', () => {
  test.each<[string, object, string[]]>([
    ['of caches', { cache_control: { type: 'ephemeral' } }, ['cache_control']],
    [
      'of blocks',
      { system: [{ type: 'text', text: 's', cache_control: { type: 'ephemeral' } }] },
      ['system[0].cache_control'],
    ],
    ['of thinking that is off', { thinking: { type: 'disabled' } }, ['thinking']],
    [
      'of tools without tools',
      { tools: [], tool_choice: { type: 'auto', disable_parallel_tool_use: true } },
      ['tool_choice'],
    ],
    ['of effort', { output_config: { effort: 'low' } }, ['output_config.effort']],
    [
      'of thoughts that are cleared',
      { context_management: { edits: [{ type: 'clear_thinking_20251015', keep: 'all' }] } },
      ['context_management'],
    ],
    ['of the tier', { service_tier: 'auto' }, ['service_tier']],
    ['of messages', { messages: [{ ...q, id: 'm1' }] }, ['messages[0].id']],
    ['unknown and empty', { a1: null, b2: [] }, ['a1', 'b2']],
  ])('%s are taken, and named', async (_, changes, names) => {
    expect((await asked(changes)).ignored.toSorted()).toEqual(names.toSorted())
  })

  test('thoughts that come back are named, and not written', async () => {
    const said = [
      { type: 'thinking', thinking: 't', signature: 's' },
      { type: 'text', text: 'a' },
    ]
    const { request, ignored } = await asked({ messages: [q, { role: 'assistant', content: said }, q] })
    expect(ignored).toEqual(['messages[1].content[0]'])
    expect(promptOf(request)).toBe('<human>: \nq\n<bot>: \na\n<human>: \nq\n<bot>: \n')
  })

  test.each<[string, object, string]>([
    ['a tool of a type of its own', { tools: [{ type: 'bash_20250124', name: 'bash' }] }, 'tools[0].type'],
    ['a tool without a schema', { tools: [{ name: 't' }] }, 'tools[0].input_schema'],
    ['a name that is none', { tools: [{ name: 't t', input_schema: {} }] }, 'tools[0].name'],
    ['two tools of a name', { tools: [tool, tool] }, 'tools'],
    ['a tool that has to be called, of none', { tool_choice: { type: 'any' } }, 'tool_choice'],
    ['a tool that is not there', { tools: [tool], tool_choice: { type: 'tool', name: 'w' } }, 'tool_choice'],
    ['another choice', { tools: [tool], tool_choice: { type: 'required' } }, 'tool_choice.type'],
    ['thinking', { thinking: { type: 'enabled', budget_tokens: 1024 } }, 'thinking'],
    ['another format', { output_config: { format: { type: 'text' } } }, 'output_config.format.type'],
    ['a container', { container: 'c' }, 'container'],
    ['edits', { context_management: { edits: [{ type: 'clear_tool_uses_20250919' }] } }, 'context_management'],
    ['a thread', { thread: { type: 'create' } }, 'thread'],
    ['an unknown field', { top_x: 1 }, 'top_x'],
    ['no limit', { max_tokens: undefined }, 'max_tokens'],
    ['no tokens', { max_tokens: 0 }, 'max_tokens'],
    ['no messages', { messages: [] }, 'messages'],
    ['another role', { messages: [{ role: 'tool', content: 'x' }] }, 'messages[0].role'],
    [
      'an image',
      { messages: [{ role: 'user', content: [{ type: 'image', source: {} }] }] },
      'messages[0].content[0].type',
    ],
    ['a call of the user', { messages: [{ role: 'user', content: [call] }] }, 'messages[0].content[0].type'],
    ['a call without input', { messages: [q, said({ ...call, input: undefined })] }, 'messages[1].content[0].input'],
    ['a result of no call', { messages: [{ role: 'user', content: [result] }] }, 'messages[0].content[0].tool_use_id'],
    ['a result of the assistant', { messages: [q, said(call), said(result)] }, 'messages[2].content[0].type'],
    [
      'an image in a result',
      { messages: [q, said(call), { role: 'user', content: [{ ...result, content: [{ type: 'image' }] }] }] },
      'messages[2].content[0].content[0].type',
    ],
    [
      'a block without text',
      { messages: [{ role: 'user', content: [{ type: 'text' }] }] },
      'messages[0].content[0].text',
    ],
    ['a number', { messages: [{ role: 'user', content: 5 }] }, 'messages[0].content'],
    ['text that no model can be given', { system: 'a\0' }, 'system[0].text'],
    ['temperatures too high', { temperature: 2.1 }, 'temperature'],
  ])('%s is refused by its name', async (_, changes, param) => {
    const error = await refused(await caller.post(MESSAGES, { ...body, ...changes }))
    expect(error).toMatchObject({ status: 400, type: 'invalid_request_error', param })
    expect(error.message).toContain(param.split('.')[0]!.split('[')[0])
  })

  test('a block that is refused is told of by its type', async () => {
    const messages = [{ role: 'user', content: [{ type: 'search_result', title: 't' }] }]
    expect((await refused(await caller.post(MESSAGES, { ...body, messages }))).message).toContain("'search_result'")
  })

  // A value that no field takes: what is known is refused by its name or taken, never called unknown.
  const own = new Set(['model', 'messages'])
  test.each([
    ['messages', 'MessageCreateParamsBase'],
    ['messages', 'MessageCountTokensParams'],
    ['beta/messages', 'MessageCreateParamsBase'],
  ])('of %s, %s, are all known', async (resource, name) => {
    const path = name === 'MessageCountTokensParams' ? COUNT : MESSAGES
    const fields = fieldsOf(resource, name).filter((field) => !own.has(field) && field !== 'betas') // a header
    expect(fields.length).toBeGreaterThan(5)
    const { max_tokens, ...rest } = body
    for (const field of fields) {
      const given = { ...rest, ...(path === MESSAGES && { max_tokens }), [field]: [[0.5]] }
      const response = await caller.post(path, given)
      if (response.status === 200) expect(ignored(response), field).toContain(field)
      else expect((await refused(response)).error_code, field).toMatch(/^(thread_un|un|in)(valid|supported)_/)
    }
  })
})

/** The names of the fields of an interface of the installed package. */
function fieldsOf(resource: string, name: string): string[] {
  const root = dirname(createRequire(import.meta.url).resolve('@anthropic-ai/sdk'))
  const source = readFileSync(join(root, `resources/${resource}/messages.d.ts`), 'utf8')
  const start = source.indexOf(`export interface ${name} `)
  return Array.from(source.slice(start, source.indexOf('\n}', start)).matchAll(/^ {4}([a-z_]+)\??:/gm), ([, f]) => f!)
}

describe('refusals', () => {
  test.each<[string, () => Promise<Response>, object]>([
    [
      'of a model that is not',
      () => caller.post(MESSAGES, { ...body, model: 'gpt' }),
      { status: 404, type: 'not_found_error' },
    ],
    ['of what is no JSON', () => caller.post(MESSAGES, '{'), { status: 400, type: 'invalid_request_error' }],
    [
      'of a body too large',
      () => caller.post(MESSAGES, 'x'.repeat(2 << 20)),
      { status: 413, type: 'request_too_large' },
    ],
    ['of a path that is not', () => caller.post('/v1/messages/batches', {}), { status: 404, type: 'not_found_error' }],
    ['of a method that is not', () => caller.get(MESSAGES), { status: 405, type: 'invalid_request_error' }],
  ])('%s are in its form', async (_, ask, expected) => {
    expect(await refused(await ask())).toMatchObject(expected)
  })

  test('of a node that is overloaded are 529, and of none 503', async () => {
    gateway.node.options.refuse = 'overloaded'
    expect(await refused(await caller.post(MESSAGES, body))).toMatchObject({ status: 529, type: 'overloaded_error' })
    gateway.node.options.refuse = 'draining'
    expect(await refused(await caller.post(MESSAGES, body))).toMatchObject({ status: 503, type: 'api_error' })
  })

  test('of an account without money are 402, and say what it would take', async () => {
    const poor = await gateway.newCaller('1')
    const error = await refused(await poor.post(MESSAGES, body))
    expect(error).toMatchObject({ status: 402, type: 'billing_error', error_code: 'insufficient_quota' })
  })
})

describe('counting tokens', () => {
  const { max_tokens: _, ...counted } = body

  test('asks a node, and costs nothing', async () => {
    const balance = async () => (await caller.get('/v1/balance')).json()
    const before = await balance()
    const answer = await caller.post(COUNT, { ...counted, system: 'S' })
    expect(await answer.json()).toEqual({ input_tokens: 5 })
    const [question] = gateway.node.questions.slice(-1)
    expect(question).toEqual({
      prompts: [[{ special: '<s>' }, { text: 'S\n<human>: \nq\n<bot>: \n' }]],
      with_ids: false,
    })
    expect(await balance()).toEqual(before)
  })

  test('is refused as a message would be', async () => {
    expect(await refused(await caller.post(COUNT, { ...counted, model: 'gpt' }))).toMatchObject({ status: 404 })
    expect(await refused(await caller.post(COUNT, { ...counted, messages: [] }))).toMatchObject({ param: 'messages' })
    const few = { account_id: caller.account_id, name: 'few', models: ['Ziya-Coding-34B-v1.0'] }
    const { key } = (await (await gateway.admin('/admin/keys', few)).json()) as { key: string }
    const ask = await fetch(gateway.url + COUNT, {
      method: 'POST',
      headers: { 'x-api-key': key, 'content-type': 'application/json' },
      body: JSON.stringify(counted),
    })
    expect(await refused(ask)).toMatchObject({ status: 403, type: 'permission_error', error_code: 'model_not_allowed' })
  })

  test('needs a node', async () => {
    const elsewhere = await caller.post(COUNT, { ...counted, model: 'Ziya-Coding-34B-v1.0' })
    expect(await refused(elsewhere)).toMatchObject({ status: 503, type: 'api_error' })
    gateway.node.options.refuse = 'context_length_exceeded'
    expect(await refused(await caller.post(COUNT, counted))).toMatchObject({ status: 400 })
  })
})
