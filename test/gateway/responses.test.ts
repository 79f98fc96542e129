// The Responses API: what it takes and refuses, and that what it stores is the account's alone, sealed, and never in an answer's way.

import { inflateRawSync } from 'node:zlib'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { GenerateRequest } from '../../contract/internal/generation.ts'
import type { ResponseBody, ResponseInputItem } from '../../contract/public/responses.ts'
import { newGate } from '../support/gate.ts'
import { type Caller, errorOf, model, startWithCaller, type TestGateway } from '../support/gateway.ts'
import { expectDocumentedEvent } from '../support/openapi.ts'
import { eventually } from '../support/patience.ts'

let gateway: TestGateway
let caller: Caller

beforeAll(async () => {
  ;[gateway, caller] = await startWithCaller()
})
afterAll(() => gateway?.stop())
afterEach(() => gateway.node.calm())

const R = '/v1/responses'
const body = { model, max_output_tokens: 16, input: 'q' }
const SAID = ' token token token'

const ignored = (response: Response) => response.headers.get('x-ignored-parameters')?.split(', ') ?? []

async function asked(changes: object, by = caller) {
  const response = await by.post(R, { ...body, ...changes })
  const text = await response.text()
  expect(response.status, text).toBe(200)
  const { request } = gateway.node.accepted.at(-1)!
  return { request, ignored: ignored(response), answer: JSON.parse(text) as ResponseBody }
}

async function refused(changes: object) {
  const accepted = gateway.node.accepted.length
  const { status, code, param, message } = await errorOf(await caller.post(R, { ...body, ...changes }))
  expect(gateway.node.accepted).toHaveLength(accepted)
  return { status, code, param, message }
}

const promptOf = ({ prompts }: GenerateRequest) => prompts[0]!.map((part) => ('text' in part ? part.text : '')).join('')

async function streamed(changes: object) {
  const response = await caller.post(R, { ...body, ...changes, stream: true })
  const text = await response.text()
  const frames = Array.from(text.matchAll(/^event: (\S+)\ndata: ([^\n]*)\n\n/gm))
  expect(frames.map(([frame]) => frame).join('')).toBe(text)
  const events = frames.map(([, name, data]) => {
    const event = JSON.parse(data!) as { type: string; response?: ResponseBody }
    expect(event.type).toBe(name)
    expectDocumentedEvent(R, event)
    return event
  })
  return { text, events, answer: events.at(-1)!.response! }
}

/** What was packed and not sealed. */
function unpacked(bytes: Buffer): string {
  try {
    return String(inflateRawSync(bytes))
  } catch {
    return ''
  }
}

const itemsOf = async ({ id }: ResponseBody, query = '?order=asc') => {
  const answer = await caller.get(`${R}/${id}/input_items${query}`)
  return (await answer.json()) as { data: ResponseInputItem[]; has_more: boolean; first_id: string; last_id: string }
}

describe('a response', () => {
  test('is asked and answered in OpenAI’s form, and billed as any generation', async () => {
    const { request, answer } = await asked({ temperature: 0.3, top_p: 0.9, metadata: { a: 'b' }, stop: ['END'] })
    expect(request).toMatchObject({ shape: 'response', n: 1, max_tokens: 16, stop: ['END'], logprobs: null })
    expect(answer).toMatchObject({
      id: `resp_${request.request_id.replaceAll('-', '')}`,
      status: 'completed',
      output: [{ type: 'message', role: 'assistant', content: [{ type: 'output_text', text: SAID }] }],
      usage: { input_tokens: 5, output_tokens: 3, total_tokens: 8 },
      metadata: { a: 'b' },
      temperature: 0.3,
      top_p: 0.9,
      store: true,
    })
    const receipt = await caller.get(`/v1/usage/${answer.id}`)
    expect(await receipt.json()).toMatchObject({ request_id: request.request_id, model })
  })

  test('is streamed in named events, each as the document has it', async () => {
    const { events } = await streamed({})
    expect(events.map(({ type }) => type.replace('response.', ''))).toEqual([
      ...['created', 'in_progress', 'output_item.added', 'content_part.added', ...Array(3).fill('output_text.delta')],
      ...['output_text.done', 'content_part.done', 'output_item.done', 'completed'],
    ])
  })

  test.each([false, true])('that is asked again with its Idempotency-Key is the same (stream: %s)', async (stream) => {
    const init = { headers: { 'idempotency-key': `responses ${stream}` } }
    const ask = () => caller.post(R, { ...body, stream }, init)
    const first = await (await ask()).text()
    const runs = gateway.node.accepted.length
    const again = await ask()
    expect(await again.text()).toBe(first)
    expect(again.headers.get('idempotency-replayed')).toBe('true')
    expect(gateway.node.accepted).toHaveLength(runs)
    const id = /"id":"(resp_\w+)"/.exec(first)![1]!
    expect((await caller.get(`${R}/${id}`)).status).toBe(200)
  })

  test('has instructions, turns, calls and results in their order', async () => {
    const { request } = await asked({
      instructions: 'S',
      input: [
        { role: 'developer', content: 'T' },
        {
          role: 'user',
          content: [
            { type: 'input_text', text: 'a' },
            { type: 'input_text', text: 'b' },
          ],
        },
        { type: 'message', role: 'assistant', content: [{ type: 'output_text', text: 'c', annotations: [] }] },
        { type: 'function_call', call_id: 'c1', name: 'f', arguments: '{"x":1}' },
        { type: 'function_call_output', call_id: 'c1', output: 'r' },
      ],
    })
    const call = '<tool_call>{"name": "f", "arguments": {"x":1}}</tool_call>'
    const result = '<tool_response name="f">\nr\n</tool_response>'
    expect(promptOf(request)).toBe(`S\nT\n<human>: \nab\n<bot>: \nc\n${call}\n<human>: \n${result}\n<bot>: \n`)
  })
})

describe('fields', () => {
  test.each<[string, object, string[]]>([
    ['of caches', { prompt_cache_key: 'k', safety_identifier: 's' }, ['prompt_cache_key', 'safety_identifier']],
    ['of thinking', { reasoning: { effort: 'high', summary: 'auto' } }, ['reasoning']],
    ['of tools without tools', { tools: [], tool_choice: 'auto' }, ['tool_choice']],
    ['of tools that OpenAI runs', { max_tool_calls: 3 }, ['max_tool_calls']],
    ['of the way it is written', { text: { verbosity: 'medium' } }, ['text.verbosity']],
    ['of a tier that is not sold', { service_tier: 'priority' }, ['service_tier']],
    ['of items', { input: [{ role: 'user', content: 'q', phase: 'commentary' }] }, ['input[0].phase']],
    ['unknown and empty', { a1: null, b2: [] }, ['a1', 'b2']],
    ['of nothing', { background: false, conversation: null, prompt: null, truncation: 'disabled' }, []],
    ['of what is included', { include: ['reasoning.encrypted_content'] }, []],
  ])('%s are taken and named', async (_, changes, names) => {
    expect((await asked(changes)).ignored).toEqual(names)
  })

  test('of the tier, of what is cut and of reports are used, and said again', async () => {
    const price = { input_nanousd_per_token: '1', cached_input_nanousd_per_token: '1', output_nanousd_per_token: '2' }
    expect((await gateway.admin('/admin/prices', { model, service_tier: 'flex', ...price })).status).toBe(201)
    const used = { service_tier: 'flex', truncation: 'auto', metadata: { team: 'a' } }
    const { request, answer, ignored } = await asked(used)
    expect(request).toMatchObject({ priority: 'batch', truncate_prompt: 'to_fit' })
    expect([answer, ignored]).toMatchObject([used, []])
    const receipt = await caller.get(`/v1/usage/${answer.id}`)
    expect(await receipt.json()).toMatchObject({ metadata: { team: 'a' } })
  })

  test('thoughts are taken and named', async () => {
    const thought = { type: 'reasoning', id: 'rs_1', summary: [{ type: 'summary_text', text: 'hidden' }] }
    const { request, ignored } = await asked({ input: [{ role: 'user', content: 'q' }, thought] })
    expect(ignored).toEqual(['input[1]'])
    expect(JSON.stringify(request.prompts)).not.toContain('hidden')
  })

  test.each<[object, string, string]>([
    [{ background: true, store: false }, 'invalid_value', 'store'],
    [{ background_options: { completion_window: '2h' } }, 'invalid_value', 'background_options'],
    [
      { background: true, background_options: { continuation_id: 'x' } },
      'unsupported_parameter',
      'background_options.continuation_id',
    ],
    [{ conversation: 'conv_1' }, 'unsupported_parameter', 'conversation'],
    [{ prompt: { id: 'pmpt_1' } }, 'unsupported_parameter', 'prompt'],
    [{ truncation: 'first' }, 'invalid_value', 'truncation'],
    [{ return_token_ids: true }, 'unknown_parameter', 'return_token_ids'],
    [{ context_management: [{ type: 'compaction' }] }, 'unsupported_parameter', 'context_management'],
    [{ tools: [{ type: 'web_search' }] }, 'unsupported_parameter', 'tools[0].type'],
    [{ tools: [{ type: 'mcp', server_label: 's' }] }, 'unsupported_parameter', 'tools[0].type'],
    [{ tool_choice: { type: 'file_search' } }, 'unsupported_parameter', 'tool_choice'],
    [{ tool_choice: 'required' }, 'invalid_value', 'tool_choice'],
    [{ input: [{ type: 'computer_call' }] }, 'unsupported_parameter', 'input[0].type'],
    [
      { input: [{ role: 'user', content: [{ type: 'input_image', image_url: 'u' }] }] },
      'unsupported_parameter',
      'input[0].content[0].type',
    ],
    [{ input: [] }, 'invalid_value', 'input'],
    [{ input: 7 }, 'invalid_type', 'input'],
    [{ input: undefined }, 'missing_required_parameter', 'input'],
    [{ input: [{ type: 'reasoning', summary: [] }] }, 'invalid_value', 'input'],
    [{ input: [{ type: 'function_call_output', call_id: 'c', output: 'r' }] }, 'invalid_value', 'input'],
    [{ max_output_tokens: 0 }, 'invalid_value', 'max_output_tokens'],
    [{ max_output_tokens: 1_000_000 }, 'invalid_value', 'max_output_tokens'],
    [{ max_tokens: 5 }, 'unknown_parameter', 'max_tokens'],
    [{ n: 2 }, 'unknown_parameter', 'n'],
    [{ include: ['nothing'] }, 'invalid_value', 'include[0]'],
    [{ top_logprobs: 21 }, 'invalid_value', 'top_logprobs'],
    [{ metadata: { a: 'x'.repeat(513) } }, 'invalid_value', 'metadata.a'],
    [{ text: { format: { type: 'xml' } } }, 'invalid_type', 'text.format.type'],
    [{ text: { verbosity: 'low' } }, 'unsupported_parameter', 'text.verbosity'],
    [{ previous_response_id: 7 }, 'invalid_type', 'previous_response_id'],
  ])('%o is refused by its name', async (changes, code, param) => {
    expect(await refused(changes)).toMatchObject({ status: 400, code, param })
  })
})

describe('what is stored', () => {
  test('is read again as it was answered, whole or streamed', async () => {
    for (const { answer } of [await asked({ user: 'u' }), await streamed({ instructions: 'S' })])
      expect(await (await caller.get(`${R}/${answer.id}`)).json()).toEqual(answer)
  })

  test('is gone on from with its items, and without its instructions', async () => {
    const first = await asked({ instructions: 'S' })
    const { request, answer } = await asked({ input: 'r', previous_response_id: first.answer.id, instructions: 'T' })
    expect(promptOf(request)).toBe(`T\n<human>: \nq\n<bot>: \n${SAID}\n<human>: \nr\n<bot>: \n`)
    const { data } = await itemsOf(answer)
    expect(data.map((item) => ('content' in item ? item.content[0]!.text : ''))).toEqual(['q', SAID, 'r'])
    expect(new Set(data.map(({ id }) => id)).size).toBe(3)
    const referred = await asked({
      input: [
        { type: 'item_reference', id: first.answer.output[0]!.id },
        { role: 'user', content: 'r' },
      ],
    })
    expect(promptOf(referred.request)).toBe(`\n<bot>: \n${SAID}\n<human>: \nr\n<bot>: \n`.slice(1))
  })

  test('is listed by its items, page by page in either order', async () => {
    const input = Array.from({ length: 5 }, (_, i) => ({
      role: 'user',
      content: `q${i}`,
      ...(i < 2 && { id: 'msg_twice' }),
    }))
    const { answer } = await asked({ input })
    const all = (await itemsOf(answer)).data.map(({ id }) => id)
    expect(new Set(all).size).toBe(5)
    expect((await itemsOf(answer, '')).data.map(({ id }) => id)).toEqual(all.toReversed())
    const seen: string[] = []
    for (let after = ''; seen.length < 5; after = `&after=${seen.at(-1)}`) {
      const { data, has_more, first_id, last_id } = await itemsOf(answer, `?order=asc&limit=2${after}`)
      seen.push(...data.map(({ id }) => id))
      expect([first_id, last_id, has_more]).toEqual([data[0]!.id, data.at(-1)!.id, seen.length < 5])
    }
    expect(seen).toEqual(all)
    expect(await errorOf(await caller.get(`${R}/${answer.id}/input_items?after=msg_0`))).toMatchObject({
      status: 400,
      param: 'after',
    })
  })

  test('is any key’s of the account, and nobody else’s to read, list, delete, go on from or refer to', async () => {
    const { answer } = await asked({})
    const made = await gateway.admin('/admin/keys', { account_id: caller.account_id, name: 'k', scopes: ['generate'] })
    const { key } = (await made.json()) as { key: string }
    const get = (path: string, api_key: string, method = 'GET') =>
      fetch(gateway.url + path, { method, headers: { authorization: `Bearer ${api_key}` } })
    expect((await get(`${R}/${answer.id}`, key)).status).toBe(200)
    const stranger = await gateway.newCaller()
    for (const [path, method] of [
      [answer.id, 'GET'],
      [answer.id, 'DELETE'],
      [`${answer.id}/input_items`, 'GET'],
    ])
      expect((await get(`${R}/${path}`, stranger.api_key, method)).status).toBe(404)
    for (const changes of [
      { previous_response_id: answer.id },
      { input: [{ type: 'item_reference', id: answer.output[0]!.id }] },
    ])
      expect((await stranger.post(R, { ...body, ...changes })).status).toBe(404)
    expect((await get(`${R}/${answer.id}`, caller.api_key, 'DELETE')).status).toBe(200)
    expect((await get(`${R}/${answer.id}`, caller.api_key)).status).toBe(404)
  })

  test('is sealed for its account and its id: nowhere in the database, and not to be opened as another’s', async () => {
    const { request, answer } = await asked({ input: 'a secret question' })
    const { request_id } = request
    const [row] = await gateway.db.sql`select * from stored_responses where request_id = ${request_id}`
    for (const bytes of [row!.input, row!.response] as Buffer[])
      for (const packed of [bytes, bytes.subarray(12)])
        for (const said of ['secret', 'token', 'output']) expect(`${bytes} ${unpacked(packed)}`).not.toContain(said)
    const stranger = await gateway.newCaller()
    await gateway.db.sql`
      insert into stored_responses (account_id, request_id, input, response, expires_at)
      select ${stranger.account_id}, request_id, input, response, expires_at from stored_responses where request_id = ${request_id}`
    expect((await stranger.get(`${R}/${answer.id}`)).status).toBe(404)
    expect((await caller.get(`${R}/${answer.id}`)).status).toBe(200)
    const other = await asked({})
    await gateway.db.sql`
      update stored_responses set input = response, response = ${row!.response}
      where account_id = ${caller.account_id} and request_id = ${other.request.request_id}`
    expect((await caller.get(`${R}/${other.answer.id}`)).status).toBe(404)
  })

  test('is forgotten after its thirty days', async () => {
    const { request, answer } = await asked({})
    const [row] = await gateway.db.sql`
      select (extract(epoch from expires_at - created_at) / 86400)::int as days from stored_responses where request_id = ${request.request_id}`
    expect(row!.days).toBe(30)
    await gateway.db
      .sql`update stored_responses set expires_at = clock_timestamp() where request_id = ${request.request_id}`
    expect((await caller.get(`${R}/${answer.id}`)).status).toBe(404)
    expect(await refused({ previous_response_id: answer.id })).toMatchObject({
      status: 404,
      code: 'previous_response_not_found',
    })
  })

  test('is nothing where it could not be: the answer says so, and is whole', async () => {
    await gateway.db.sql`alter table stored_responses add constraint refused check (false) not valid`
    const whole = await asked({})
    const stream = await streamed({})
    await gateway.db.sql`alter table stored_responses drop constraint refused`
    for (const { answer } of [whole, stream]) {
      expect(answer).toMatchObject({ store: false, status: 'completed', output: [{ content: [{ text: SAID }] }] })
      expect((await caller.get(`${R}/${answer.id}`)).status).toBe(404)
    }
  })

  test('is nothing of one whose client left: its work ends', async () => {
    Object.assign(gateway.node.options, { after_chunk: newGate().pass, completion_tokens: 500 })
    const before = gateway.node.aborted_count
    const leave = new AbortController()
    const wanted = { ...body, max_output_tokens: 600, stream: true }
    const response = await caller.post(R, wanted, { signal: leave.signal })
    await response.body!.getReader().read()
    leave.abort()
    await eventually(async () => (gateway.node.aborted_count > before ? true : null))
    const request_id = response.headers.get('x-request-id')!
    expect((await caller.get(`${R}/resp_${request_id.replaceAll('-', '')}`)).status).toBe(404)
  })

  test('is nothing where it is not wanted', async () => {
    const { answer } = await asked({ store: false })
    expect(answer.store).toBe(false)
    expect((await caller.get(`${R}/${answer.id}`)).status).toBe(404)
  })

  test.each(['resp_x', 'resp_', `resp_${'0'.repeat(32)}`, '7', `msg_${'0'.repeat(32)}`])(
    '%s is nothing',
    async (id) => {
      expect(await errorOf(await caller.get(`${R}/${id}`))).toMatchObject({ status: 404, code: 'not_found' })
      expect(await refused({ previous_response_id: id })).toMatchObject({
        ...{ status: 404, code: 'previous_response_not_found', param: 'previous_response_id' },
      })
      expect(await refused({ input: [{ type: 'item_reference', id }] })).toMatchObject({ status: 404, param: 'input' })
    },
  )

  test('is not streamed again', async () => {
    const { answer } = await asked({})
    const query = '?include[]=message.output_text.logprobs&stream=false'
    expect((await caller.get(`${R}/${answer.id}${query}`)).status).toBe(200)
    expect(await errorOf(await caller.get(`${R}/${answer.id}?stream=true`))).toMatchObject({
      status: 400,
      param: 'stream',
    })
  })
})

describe('counting', () => {
  test('asks a node for the same prompt', async () => {
    const first = await asked({})
    const given = { model, input: 'r', instructions: 'S', previous_response_id: first.answer.id }
    const counted = await caller.post(`${R}/input_tokens`, given)
    expect(await counted.json()).toEqual({ object: 'response.input_tokens', input_tokens: 5 })
    const { request } = await asked(given)
    expect(gateway.node.questions.at(-1)).toMatchObject({ prompts: request.prompts })
  })
})
