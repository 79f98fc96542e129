// The Responses API by its official client and by the AI SDK, whose default it is, against the whole service.

import { createOpenAI } from '@ai-sdk/openai'
import { generateText, isStepCount, jsonSchema, Output, streamText, tool } from 'ai'
import { Ajv2020 } from 'ajv/dist/2020.js'
import OpenAI from 'openai'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { expectDocumentedEvent } from '../support/openapi.ts'
import { type Customer, eventually, newCustomer, startTestStack, type TestStack } from '../support/stack.ts'

type Event = OpenAI.Responses.ResponseStreamEvent

let stack: TestStack
let customer: Customer
let responses: OpenAI.Responses
const model = 'ziya-coding-mini'
const greedy = { model, temperature: 0, max_output_tokens: 40 }
const input = '写一段快速排序'

beforeAll(async () => {
  stack = await startTestStack()
  customer = await newCustomer(stack)
  responses = customer.client.responses
})
afterAll(() => stack?.stop())

/** The events of a stream, each as the document of the API has it, and numbered. */
async function eventsOf(body: OpenAI.Responses.ResponseCreateParamsNonStreaming): Promise<Event[]> {
  const events: Event[] = []
  for await (const event of await responses.create({ ...body, stream: true })) events.push(event)
  expect(events.map((event) => event.sequence_number)).toEqual(events.map((_, place) => place))
  for (const event of events) {
    const { response, ...rest } = { response: null, ...event }
    const { output_text: _, ...told } = { ...(response as OpenAI.Responses.Response | null) }
    expectDocumentedEvent('/v1/responses', response ? { ...rest, response: told } : rest)
  }
  return events
}

/** What a response and its repetition have in common. */
function lasting({ output, status, incomplete_details, usage }: OpenAI.Responses.Response) {
  const items = output.map((item) => ({ ...item, id: '', call_id: '' }))
  return { output: items, status, incomplete_details, output_tokens: usage?.output_tokens }
}

describe('a response', () => {
  test('says what a chat says: whole, streamed, and by the helper', async () => {
    const said = await customer.client.chat.completions.create({
      ...{ model, temperature: 0, max_tokens: 40 },
      messages: [{ role: 'user', content: input }],
    })
    const whole = await responses.create({ ...greedy, input })
    expect(whole.output_text).toBe(said.choices[0]!.message.content)
    expect(whole.usage).toMatchObject({ input_tokens: said.usage!.prompt_tokens, output_tokens: 40 })
    expect(whole).toMatchObject({ status: 'incomplete', incomplete_details: { reason: 'max_output_tokens' } })
    const events = await eventsOf({ ...greedy, input })
    const deltas = events.flatMap((event) => (event.type === 'response.output_text.delta' ? [event.delta] : []))
    expect(deltas.join('')).toBe(whole.output_text)
    expect(deltas.length).toBeGreaterThan(1)
    expect([...new Set(events.map(({ type }) => type.replace('response.', '')))]).toEqual([
      ...['created', 'in_progress', 'output_item.added', 'content_part.added', 'output_text.delta'],
      ...['output_text.done', 'content_part.done', 'output_item.done', 'incomplete'],
    ])
    const helped = await responses.stream({ ...greedy, input }).finalResponse()
    expect(helped.output_text).toBe(whole.output_text)
    expect(lasting(helped)).toMatchObject(lasting(whole))
  })

  test('that ends by itself is completed, and says again what was asked', async () => {
    const asked = {
      ...{ model, input, instructions: 'Say yes.', metadata: { team: 'a' }, user: 'u', top_p: 0.5, temperature: 0.25 },
      text: { format: { type: 'regex', pattern: 'yes' } } as never,
    }
    const whole = await responses.create(asked)
    const { input: _, ...told } = asked
    expect(whole).toMatchObject({ ...told, status: 'completed', output_text: 'yes', error: null, store: true })
    expect(whole.completed_at).toBeGreaterThanOrEqual(whole.created_at)
    expect((await eventsOf(asked)).at(-1)!.type).toBe('response.completed')
  })

  test('follows a schema, and is parsed by the client itself', async () => {
    const schema = {
      type: 'object',
      properties: { name: { type: 'string', maxLength: 9 }, kind: { enum: ['function', 'class'] } },
      required: ['name', 'kind'],
      additionalProperties: false,
    }
    const text = { format: { type: 'json_schema', name: 'note', schema, strict: true } } as const
    const isValid = new Ajv2020().compile(schema)
    const asked = { ...greedy, temperature: 1, max_output_tokens: 100, input, text }
    const parsed = await responses.parse(asked)
    expect(isValid(JSON.parse(parsed.output_text)), parsed.output_text).toBe(true)
    expect(parsed.text).toMatchObject(text)
    const object = await responses.create({ ...asked, text: { format: { type: 'json_object' } } })
    expect(object.output_text).toMatch(/^\{/)
    const unheld = { ...text, format: { ...text.format, schema: { type: 'object', minProperties: 1 } } }
    await expect(responses.create({ ...asked, text: unheld })).rejects.toMatchObject({
      ...{ status: 400, code: 'invalid_response_format', param: 'text.format' },
      message: expect.stringContaining("'minProperties'"),
    })
  })

  test('has log-probabilities where they are included, streamed the same', async () => {
    const asked = { ...greedy, input, include: ['message.output_text.logprobs' as const], top_logprobs: 2 }
    const whole = await responses.create(asked)
    const partOf = (response: OpenAI.Responses.Response) =>
      (response.output[0] as OpenAI.Responses.ResponseOutputMessage).content[0] as OpenAI.Responses.ResponseOutputText
    const { logprobs, text } = partOf(whole)
    expect(logprobs).toHaveLength(40)
    const bytes = Uint8Array.from(logprobs!.flatMap((token) => token.bytes))
    expect(new TextDecoder().decode(bytes)).toContain(text)
    for (const { top_logprobs, logprob } of logprobs!) {
      expect(top_logprobs).toHaveLength(2)
      expect(top_logprobs[0]!.logprob).toBeGreaterThanOrEqual(logprob)
    }
    const events = await eventsOf(asked)
    expect(partOf((events.at(-1) as { response: OpenAI.Responses.Response }).response).logprobs).toEqual(logprobs)
    const deltas = events.flatMap((event) => (event.type === 'response.output_text.delta' ? event.logprobs : []))
    expect(deltas).toEqual(logprobs)
  })

  test('is counted before as it is billed, once', async () => {
    const asked = { model, input, instructions: 'Be short.' }
    const { input_tokens } = await responses.inputTokens.count(asked)
    const { data, response } = await responses.create({ ...greedy, ...asked }).withResponse()
    expect(data.usage!.input_tokens).toBe(input_tokens)
    const { value: bill } = await eventually(async () => {
      const answer = (await (await customer.fetch(`/v1/usage/${data.id}`)).json()) as Record<string, unknown>
      return answer.state === 'posted' ? answer : null
    })
    const { output_tokens } = data.usage!
    expect(bill).toMatchObject({ prompt_tokens: input_tokens, completion_tokens: output_tokens })
    const request_id = response.headers.get('x-request-id')!
    expect(await stack.sql`select from entries where request_id = ${request_id}`).toHaveLength(1)
    const estimated = await customer.fetch('/v1/estimate', {
      method: 'POST',
      body: JSON.stringify({ endpoint: '/v1/responses', ...asked, max_output_tokens: 40 }),
    })
    expect(await estimated.json()).toMatchObject({ prompt_tokens: input_tokens, completion_tokens_max: 40 })
  })
})

describe('one that is stored', () => {
  test('is gone on from, as if all had been given', async () => {
    const first = await responses.create({ ...greedy, input, instructions: 'Gone with the first.' })
    const next = await responses.create({ ...greedy, input: 'And now?', previous_response_id: first.id })
    expect(next.previous_response_id).toBe(first.id)
    const given: OpenAI.Responses.ResponseInput = [
      { role: 'user', content: input },
      ...(first.output as OpenAI.Responses.ResponseOutputMessage[]),
      { role: 'user', content: 'And now?' },
    ]
    const all = await responses.create({ ...greedy, input: given, store: false })
    expect(next.usage!.input_tokens).toBe(all.usage!.input_tokens)
    expect(next.output_text).toBe(all.output_text)
    const third = await responses.create({ ...greedy, input: 'So?', previous_response_id: next.id })
    const items = await responses.inputItems.list(third.id, { order: 'asc', limit: 3 })
    const texts: string[] = []
    for await (const item of items) texts.push((item as { content: { text: string }[] }).content[0]!.text)
    expect(texts).toEqual([input, first.output_text, 'And now?', next.output_text, 'So?'])
  })

  test('is read again as it was answered, streamed or whole, and no more once it is deleted', async () => {
    const helped = await responses.stream({ ...greedy, input }).finalResponse()
    const whole = await responses.create({ ...greedy, input, user: 'u' })
    for (const told of [helped, whole]) {
      const again = await responses.retrieve(told.id)
      expect(again.output_text).toBe(told.output_text)
      expect(again).toMatchObject({ id: told.id, status: 'incomplete', usage: told.usage! })
      await responses.delete(told.id)
      await expect(responses.retrieve(told.id)).rejects.toBeInstanceOf(OpenAI.NotFoundError)
      await expect(responses.delete(told.id)).rejects.toMatchObject({ status: 404, code: 'not_found' })
    }
    const next = responses.create({ ...greedy, input, previous_response_id: whole.id })
    await expect(next).rejects.toMatchObject({
      ...{ status: 404, code: 'previous_response_not_found', param: 'previous_response_id' },
    })
  })

  test('is none where store is false', async () => {
    const told = await responses.create({ ...greedy, input, store: false })
    expect(told).toMatchObject({ store: false })
    await expect(responses.retrieve(told.id)).rejects.toMatchObject({ status: 404 })
  })
})

describe('tools', () => {
  const parameters = {
    type: 'object',
    properties: { unit: { enum: ['celsius', 'kelvin'] }, days: { type: 'integer', minimum: 1, maximum: 9 } },
    required: ['unit', 'days'],
    additionalProperties: false,
  }
  const isValid = new Ajv2020().compile(parameters)
  const weather = { type: 'function', name: 'weather', description: 'Tells it.', parameters, strict: true } as const
  const tools: OpenAI.Responses.FunctionTool[] = [weather]
  const asked = { ...greedy, max_output_tokens: 120, input, tools, parallel_tool_calls: false }
  const callsOf = ({ output }: OpenAI.Responses.Response) => output.filter((item) => item.type === 'function_call')

  test('are called, and their results taken: after their response, or with all of it', async () => {
    const called = await responses.create({ ...asked, tool_choice: 'required' })
    expect(called).toMatchObject({ status: 'completed', tool_choice: 'required', tools: [weather], output_text: '' })
    const [call, ...others] = callsOf(called)
    expect(others).toEqual([])
    expect(call).toMatchObject({ name: 'weather', status: 'completed', call_id: expect.stringMatching(/^call_/) })
    expect(isValid(JSON.parse(call!.arguments))).toBe(true)
    const result = { type: 'function_call_output', call_id: call!.call_id, output: 'rain' } as const
    const after = await responses.create({ ...asked, previous_response_id: called.id, input: [result] })
    const given: OpenAI.Responses.ResponseInput = [{ role: 'user', content: input }, call!, result]
    const all = await responses.create({ ...asked, input: given })
    expect(lasting(after)).toEqual(lasting(all))
    expect(after.usage!.input_tokens).toBe(all.usage!.input_tokens)
    const missing = responses.create({ ...asked, input: [{ ...result, call_id: 'call_of_nobody' }] })
    await expect(missing).rejects.toMatchObject({ status: 400, code: 'invalid_value', param: 'input' })
  })

  test('are streamed one after the other, as the helper follows them', async () => {
    const body = { ...asked, temperature: 1, seed: 3, parallel_tool_calls: true, tool_choice: 'required' } as const
    const whole = await responses.create(body)
    const events = await eventsOf(body)
    const done = events.flatMap((event) => (event.type === 'response.output_item.done' ? [event.item] : []))
    expect(done.map((item) => ({ ...item, id: '', call_id: '' }))).toEqual(lasting(whole).output)
    const parts = events.flatMap((event) =>
      event.type === 'response.function_call_arguments.delta' ? [event.delta] : [],
    )
    expect(parts.join('')).toBe(
      callsOf(whole)
        .map((call) => call.arguments)
        .join(''),
    )
    expect(parts.length).toBeGreaterThan(1)
    expect(lasting(await responses.stream(body).finalResponse())).toMatchObject(lasting(whole))
  })

  test.each<[string, OpenAI.Responses.ToolChoiceFunction | OpenAI.Responses.ToolChoiceAllowed]>([
    ['a function', { type: 'function', name: 'weather' }],
    ['allowed tools', { type: 'allowed_tools', mode: 'required', tools: [{ type: 'function', name: 'weather' }] }],
  ])('that are chosen by %s are called', async (_, tool_choice) => {
    const now = { type: 'function', name: 'now', parameters: null, strict: null } as const
    const called = await responses.create({ ...asked, tools: [weather, now], tool_choice })
    expect(callsOf(called).map(({ name }) => name)).toEqual(['weather'])
    expect(called.tool_choice).toEqual(tool_choice)
  })
})

describe('the AI SDK', () => {
  const provider = () => createOpenAI({ baseURL: customer.client.baseURL, apiKey: customer.api_key })(model)
  const settings = { temperature: 0, maxOutputTokens: 40, maxRetries: 0 }

  test('generates and streams a text, and an object', async () => {
    const whole = await generateText({ model: provider(), prompt: input, ...settings })
    const streamed = streamText({ model: provider(), prompt: input, ...settings })
    expect(await streamed.text).toBe(whole.text)
    expect(whole.finishReason).toBe('length')
    expect((await streamed.usage).outputTokens).toBe(whole.usage.outputTokens)
    const schema = jsonSchema<{ unit: string }>({
      ...{
        type: 'object',
        properties: { unit: { enum: ['C', 'F'] } },
        required: ['unit'],
        additionalProperties: false,
      },
    })
    const object = await generateText({
      model: provider(),
      prompt: input,
      ...settings,
      output: Output.object({ schema }),
    })
    expect(object.output).toEqual({ unit: expect.stringMatching(/^[CF]$/) })
  })

  test.each([true, false, undefined])('runs a loop of tools (store: %s)', async (store) => {
    const seen: unknown[] = []
    const execute = (given: unknown) => {
      seen.push(given)
      return 'rain'
    }
    const inputSchema = jsonSchema<{ unit: string }>({
      ...{
        type: 'object',
        properties: { unit: { enum: ['C', 'F'] } },
        required: ['unit'],
        additionalProperties: false,
      },
    })
    const loop = {
      ...{ model: provider(), prompt: input, ...settings, maxOutputTokens: 120, stopWhen: isStepCount(3) },
      tools: { weather: tool({ inputSchema, execute }) },
      toolChoice: 'required' as const,
      providerOptions: { openai: { parallelToolCalls: false, ...(store !== undefined && { store }) } },
    }
    const whole = await generateText(loop)
    expect(whole.steps.map(({ finishReason }) => finishReason)).toEqual(Array(3).fill('tool-calls'))
    const streamed = streamText(loop)
    expect((await streamed.steps).map(({ finishReason }) => finishReason)).toEqual(Array(3).fill('tool-calls'))
    expect(seen).toHaveLength(6)
  })
})
