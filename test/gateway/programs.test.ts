// The requests that popular programs send by themselves, as their sources and their users' reports show them: each is answered. Where a
// program shows a text that is streamed, so is this one.

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Caller, startTestGateway, type TestGateway } from '../support/gateway.ts'

let gateway: TestGateway
let caller: Caller

const model = 'Ziya-Coding-34B-v1.0' // whose context is as long as these programs expect

beforeAll(async () => {
  gateway = await startTestGateway({}, undefined, undefined, { model })
  caller = await gateway.newCaller()
})
afterAll(() => gateway?.stop())

const CHAT = '/v1/chat/completions'
const COMPLETIONS = '/v1/completions'
const MESSAGES = '/v1/messages'

const system = { role: 'system', content: 'You are a coding assistant.' }
const user = { role: 'user', content: 'Rename f to g.' }
const parts = (text: string, more: object = {}) => [{ type: 'text', text, ...more }]
const stream = { stream: true, stream_options: { include_usage: true } }
const ephemeral = { cache_control: { type: 'ephemeral' } }

const parameters = {
  $schema: 'http://json-schema.org/draft-07/schema#',
  type: 'object',
  properties: {
    path: { type: 'string', description: 'The file' },
    lines: { type: ['array', 'null'], items: { type: 'integer' }, description: 'Which' },
    mode: { type: 'string', enum: ['read', 'write'], default: 'read' },
  },
  required: ['path'],
  additionalProperties: false,
}
const tool = (name: string, more: object = {}) => ({
  type: 'function',
  function: { name, description: `The tool ${name}.`, parameters, ...more },
})
const call = (id: string, name: string) => ({
  ...{ id, type: 'function' },
  function: { name, arguments: '{"path":"a.ts"}' },
})
const called = { role: 'assistant', content: null, tool_calls: [call('call_1', 'read_file')] }
const result = { role: 'tool', tool_call_id: 'call_1', content: 'def f(): pass' }

test.each<[string, string, object]>([
  ['aider', CHAT, { messages: [system, user], temperature: 0, stream: true }],
  [
    'aider, with prompts cached and an answer that goes on',
    CHAT,
    {
      messages: [
        { role: 'system', content: parts('You are an expert.', ephemeral) },
        { role: 'user', content: parts('Go on.', ephemeral) },
        { role: 'assistant', content: 'def g(', prefix: true },
      ],
      temperature: 0,
      stream: true,
    },
  ],
  ['Continue, chat', CHAT, { messages: [system, user], max_tokens: 4096, ...stream }],
  [
    'Continue, agent',
    CHAT,
    {
      messages: [system, user, { ...called, content: '' }, result],
      ...{ max_tokens: 4096, tools: [tool('read_file'), tool('edit_file')], parallel_tool_calls: false },
      ...stream,
    },
  ],
  [
    'Continue, completion',
    COMPLETIONS,
    {
      prompt: 'def f(',
      ...{ max_tokens: 256, temperature: 0.01, stream: true, presence_penalty: 0, frequency_penalty: 0 },
      stop: [
        '\n\n',
        '\r\n\r\n',
        '/src/',
        '#- coding: utf-8',
        '```',
        '<fim_prefix>',
        '<fim_suffix>',
        '<|endoftext|>',
        '',
      ],
    },
  ],
  ['Cline', CHAT, { messages: [system, { ...user, content: parts('Rename.') }], temperature: 0, ...stream }],
  [
    'Cline, with the tools of the API',
    CHAT,
    {
      messages: [system, user, called, result],
      ...{ temperature: 0, max_tokens: null, tools: [tool('read_file', { strict: false })], tool_choice: 'auto' },
      ...{ parallel_tool_calls: false, ...stream },
    },
  ],
  [
    'Roo Code',
    CHAT,
    {
      messages: [
        { role: 'system', content: parts('You are Roo.', ephemeral) },
        { role: 'user', content: parts('Rename.', ephemeral) },
        { ...called, reasoning_details: [] },
        result,
      ],
      ...{
        temperature: 0,
        tools: [tool('read_file', { strict: true })],
        tool_choice: 'auto',
        parallel_tool_calls: true,
      },
      ...stream,
    },
  ],
  [
    'opencode, a title',
    CHAT,
    { messages: [system, user], prompt_cache_key: 'ses_1', reasoning_effort: null, max_tokens: 32, ...stream },
  ],
  [
    'opencode, agent',
    CHAT,
    {
      messages: [system, user, { ...called, reasoning_content: 'I read.' }, result],
      ...{
        prompt_cache_key: 'ses_1',
        tool_choice: 'auto',
        tools: ['bash', 'read_file', 'task'].map((name) => tool(name)),
      },
      ...{ temperature: 0.55, top_p: 1, max_tokens: 8000, ...stream },
    },
  ],
  [
    'Zed',
    CHAT,
    {
      messages: [system, user, called, { ...result, content: parts('def f(): pass') }],
      ...{ prompt_cache_key: 'thread_1', stop: [], parallel_tool_calls: false, tools: [tool('read_file')] },
      ...{ max_completion_tokens: 4096, temperature: 1, ...stream },
    },
  ],
  [
    'Kimi Code',
    CHAT,
    { messages: [system, user], prompt_cache_key: 's', safety_identifier: 'u', tools: [tool('Shell')], ...stream },
  ],
  [
    'Factory Droid',
    CHAT,
    {
      messages: [{ ...system, role: 'developer' }, user],
      ...{ prompt_cache_key: 'k', prompt_cache_retention: '24h', safety_identifier: 'u', store: false, ...stream },
    },
  ],
  [
    'Open WebUI',
    CHAT,
    {
      messages: [{ ...user, id: 'm1', timestamp: 1, models: [model] }],
      ...{ ...stream, params: {}, files: null, features: {}, variables: {}, session_id: '', chat_id: null },
    },
  ],
  [
    'Open WebUI, a title',
    CHAT,
    { messages: [user], stream: false, max_completion_tokens: 1000, metadata: { task: 'title_generation' } },
  ],
  [
    'LibreChat',
    CHAT,
    { messages: [system, { ...user, name: 'ann' }], user: 'u_1', temperature: 1, top_p: 1, ...stream },
  ],
  [
    'AutoGen, an agent',
    CHAT,
    {
      messages: [system, { ...user, name: 'user' }, { role: 'assistant', content: 'I will.', name: 'coder' }, user],
      ...{ tools: [tool('run')], tool_choice: 'auto', parallel_tool_calls: true },
    },
  ],
  [
    'LangChain, a schema',
    CHAT,
    {
      messages: [{ ...user, name: 'ann' }],
      response_format: { type: 'json_schema', json_schema: { name: 'extract', schema: parameters, strict: true } },
      ...{ temperature: 0.7, n: 1, parallel_tool_calls: false },
    },
  ],
  [
    'LangChain, a schema by a tool',
    CHAT,
    { messages: [user], tools: [tool('extract')], tool_choice: { type: 'function', function: { name: 'extract' } } },
  ],
  [
    'instructor',
    CHAT,
    { messages: [user], tools: [tool('Note')], tool_choice: { type: 'function', function: { name: 'Note' } } },
  ],
  ['LlamaIndex', CHAT, { messages: [{ role: 'user', content: parts('Rename.') }], temperature: 0.1, max_tokens: 512 }],
  [
    'CodeCompanion',
    CHAT,
    {
      messages: [{ ...user, id: 1, cycle: 1, opts: { visible: true } }],
      stream: true,
      temperature: 0,
      top_p: 1,
      stop: null,
    },
  ],
  [
    'SillyTavern, a greeting first and a note last',
    CHAT,
    {
      messages: [{ role: 'assistant', content: 'Hello.' }, user, system],
      ...{ top_k: -1, typical_p: 1, min_p: 0, repetition_penalty: 1, seed: -1, stop: ['\nYou:'], ...stream },
    },
  ],
  [
    'vLLM’s client',
    CHAT,
    {
      messages: [user],
      ...{ top_k: -1, min_p: 0, repetition_penalty: 1, ignore_eos: false, skip_special_tokens: true, min_tokens: 0 },
      ...{ spaces_between_special_tokens: true, add_generation_prompt: true, include_stop_str_in_output: false },
    },
  ],
  [
    'llama.cpp’s page',
    CHAT,
    {
      messages: [{ role: 'user', content: 'Rename.' }],
      ...{
        stream: true,
        reasoning_format: null,
        temperature: 0.8,
        max_tokens: -1,
        dynatemp_range: 0,
        top_k: 40,
        top_p: 0.95,
      },
      ...{
        min_p: 0.05,
        xtc_probability: 0,
        typical_p: 1,
        repeat_last_n: null,
        presence_penalty: 0,
        frequency_penalty: 0,
      },
      ...{ dry_multiplier: 0, samplers: null, timings_per_token: true, cache_prompt: true, return_progress: true },
    },
  ],
  [
    'Claude Code',
    `${MESSAGES}?beta=true`,
    {
      ...{ max_tokens: 8000, stream: true, metadata: { user_id: 'user_1' }, thinking: { type: 'adaptive' } },
      system: parts('You are Claude Code.', ephemeral),
      tools: ['Bash', 'Read'].map((name) => ({ name, description: `The tool ${name}.`, input_schema: parameters })),
      context_management: { edits: [{ type: 'clear_thinking_20251015', keep: 'all' }] },
      output_config: { effort: 'medium' },
      messages: [
        { role: 'user', content: parts('Rename.', ephemeral) },
        {
          role: 'assistant',
          content: [
            { type: 'thinking', thinking: '', signature: 's' },
            { type: 'text', text: 'I read.' },
            { type: 'tool_use', id: 'toolu_1', name: 'Read', input: { path: 'a.ts' }, caller: { type: 'direct' } },
          ],
        },
        {
          role: 'user',
          content: [{ type: 'tool_result', tool_use_id: 'toolu_1', content: parts('def f()'), ...ephemeral }],
        },
      ],
    },
  ],
])('%s is answered', async (_, path, body) => {
  const response = await caller.post(path, { model, ...body })
  const text = await response.text()
  expect(response.status, text).toBe(200)
  const { request } = gateway.node.accepted.at(-1)!
  expect(request.stream).toBe('stream' in body && body.stream === true)
  if (request.stream) expect(text).toMatch(/\[DONE\]|message_stop/)
})

describe('a model whose context is short', () => {
  test.each([
    ['max_tokens', 'max_tokens'],
    ['max_completion_tokens', 'max_completion_tokens'],
  ])('says so, by the limit and its name: %s', async (field) => {
    const response = await caller.post(CHAT, { model: 'ziya-coding-mini', messages: [user], [field]: 4096 })
    const { error } = (await response.json()) as { error: { message: string } }
    expect(response.status).toBe(400)
    expect(error.message).toMatch(/4096.*1024/)
  })
})
