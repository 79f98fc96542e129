// Anthropic's official client against the whole service: messages, streams, counts, errors, and an answer that was begun.

import Anthropic, { AuthenticationError, BadRequestError, NotFoundError } from '@anthropic-ai/sdk'
import { betaTool } from '@anthropic-ai/sdk/helpers/beta/json-schema'
import { jsonSchemaOutputFormat } from '@anthropic-ai/sdk/helpers/json-schema'
import { Ajv2020 } from 'ajv/dist/2020.js'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Customer, eventually, newCustomer, startTestStack, type TestStack } from '../support/stack.ts'

let stack: TestStack
let customer: Customer
let client: Anthropic
const model = 'ziya-coding-mini'
const question = { role: 'user' as const, content: '写一段快速排序' }
const greedy = { model, temperature: 0, max_tokens: 120, messages: [question] }

beforeAll(async () => {
  stack = await startTestStack()
  customer = await newCustomer(stack)
  client = new Anthropic({ baseURL: stack.gateway_url, apiKey: customer.api_key, maxRetries: 0 })
})
afterAll(() => stack?.stop())

const textOf = ({ content }: Anthropic.Message) =>
  content.map((block) => (block.type === 'text' ? block.text : '')).join('')

describe('a message', () => {
  test('has the text of the chat that it is, and its counts', async () => {
    const message = await client.messages.create(greedy)
    const chat = await customer.client.chat.completions.create(greedy)
    expect(textOf(message)).toBe(chat.choices[0]!.message.content)
    const { input_tokens, cache_read_input_tokens, output_tokens } = message.usage
    expect(input_tokens + cache_read_input_tokens!).toBe(chat.usage!.prompt_tokens)
    expect(output_tokens).toBe(chat.usage!.completion_tokens)
    expect(message.stop_reason).toBe(chat.choices[0]!.finish_reason === 'length' ? 'max_tokens' : 'end_turn')
  })

  test('is the same streamed, by the helper as well', async () => {
    const whole = await client.messages.create(greedy)
    const stream = client.messages.stream(greedy)
    let text = ''
    stream.on('text', (delta) => {
      text += delta
    })
    const final = await stream.finalMessage()
    expect(text).toBe(textOf(whole))
    expect(textOf(final)).toBe(text)
    expect(final.stop_reason).toBe(whole.stop_reason)
    expect(final.usage.output_tokens).toBe(whole.usage.output_tokens)
    expect(stream.request_id).toMatch(/^[0-9a-f-]{36}$/)
  })

  test('ends at a stop sequence, which it names, and at its limit', async () => {
    const whole = textOf(await client.messages.create(greedy))
    const stop = whole.slice(10, 13)
    const stopped = await client.messages.create({ ...greedy, stop_sequences: ['never said', stop] })
    expect(textOf(stopped)).toBe(whole.slice(0, whole.indexOf(stop)))
    expect([stopped.stop_reason, stopped.stop_sequence]).toEqual(['stop_sequence', stop])
    const streamed = await client.messages.stream({ ...greedy, stop_sequences: [stop] }).finalMessage()
    expect([streamed.stop_reason, streamed.stop_sequence]).toEqual(['stop_sequence', stop])
    const short = await client.messages.create({ ...greedy, max_tokens: 3 })
    expect([short.stop_reason, short.stop_sequence, short.usage.output_tokens]).toEqual(['max_tokens', null, 3])
  })

  test('goes on with what the assistant had begun', async () => {
    const whole = textOf(await client.messages.create(greedy))
    const begun = { role: 'assistant' as const, content: [{ type: 'text' as const, text: 'def quick' }] }
    const continued = await client.messages.create({ ...greedy, messages: [question, begun], max_tokens: 20 })
    const chat = await customer.client.chat.completions.create({
      ...greedy,
      messages: [question, { role: 'assistant', content: 'def quick' }],
      max_tokens: 20,
    })
    expect(textOf(continued)).toBe(chat.choices[0]!.message.content)
    expect(textOf(continued)).not.toBe(whole.slice(0, textOf(continued).length))
  })

  test('that is handed back as it came is taken', async () => {
    const first = await client.messages.create({ ...greedy, max_tokens: 8 })
    const messages = [question, { role: first.role, content: first.content }, question]
    expect((await client.messages.create({ ...greedy, messages, max_tokens: 4 })).usage.output_tokens).toBe(4)
  })

  test('is billed as it says, and its receipt is found by its id', async () => {
    const message = await client.messages.create(greedy)
    const { value: bill } = await eventually(async () => {
      const answer = (await (await customer.fetch(`/v1/usage/${message.id}`)).json()) as Record<string, unknown>
      return answer.state === 'posted' ? answer : null
    })
    const { input_tokens, cache_read_input_tokens, output_tokens } = message.usage
    expect(bill).toMatchObject({
      request_id: message._request_id,
      prompt_tokens: input_tokens + cache_read_input_tokens!,
      completion_tokens: output_tokens,
    })
  })
})

describe('tools', () => {
  const schema = {
    type: 'object',
    properties: {
      place: { type: 'string', maxLength: 8 },
      unit: { enum: ['C', 'F'] },
      days: { type: 'array', items: { type: 'integer', minimum: 1, maximum: 9 }, maxItems: 2 },
    },
    required: ['place', 'unit'],
    additionalProperties: false,
  } as const
  const weather = {
    name: 'weather',
    description: 'Tells the weather.',
    input_schema: { ...schema, required: [...schema.required] },
  }
  const clock = { name: 'clock', input_schema: { type: 'object' as const, additionalProperties: false } }
  const asked = { model, max_tokens: 120, messages: [question], tools: [weather, clock] }
  const isWeather = new Ajv2020().compile(schema)
  const at = (temperature: number) => ({ temperature }) // which newer models of theirs do not have
  const callsOf = ({ content }: Pick<Anthropic.Message, 'content'>) =>
    content.filter((block) => block.type === 'tool_use')

  function expectCall({ id, name, input }: Anthropic.ToolUseBlock): void {
    expect(id).toMatch(/^toolu_/)
    expect(['weather', 'clock']).toContain(name)
    expect(name === 'weather' ? isWeather(input) : Object.keys(input as object).length === 0).toBe(true)
  }

  test('that must be called are called, with input that follows their schema', async () => {
    for (const temperature of [0, 1, 1.6]) {
      const tool_choice = { type: 'any', disable_parallel_tool_use: true } as const
      const message = await client.messages.create({ ...asked, ...at(temperature), tool_choice })
      if (message.stop_reason !== 'tool_use') expect(message.stop_reason).toBe('max_tokens')
      else {
        expect(message.content).toHaveLength(1)
        callsOf(message).forEach(expectCall)
      }
    }
  })

  test('are streamed to the helper as they are answered whole', async () => {
    const body = { ...asked, ...at(0), tool_choice: { type: 'tool' as const, name: 'weather' } }
    const whole = await client.messages.create(body)
    expect(whole.stop_reason).toBe('tool_use')
    const pieces: string[] = []
    const stream = client.messages.stream(body)
    stream.on('inputJson', (piece) => pieces.push(piece))
    const final = await stream.finalMessage()
    expect(pieces.length).toBeGreaterThan(1)
    expect(JSON.parse(pieces.join(''))).toEqual(callsOf(whole)[0]!.input)
    const { id: _, ...first } = callsOf(final)[0]!
    expect(callsOf(whole)[0]).toMatchObject(first)
    expect([final.stop_reason, final.usage.output_tokens]).toEqual([whole.stop_reason, whole.usage.output_tokens])
  })

  test('that may be called leave a text without a half of one', async () => {
    for (const tool_choice of [{ type: 'auto' as const }, { type: 'none' as const }]) {
      const { content, stop_reason } = await client.messages.create({ ...asked, ...at(1), tool_choice })
      if (stop_reason === 'tool_use') callsOf({ content }).forEach(expectCall)
      else expect(JSON.stringify(content)).not.toContain('<tool_call>')
      if (tool_choice.type === 'none') expect(stop_reason).not.toBe('tool_use')
    }
  })

  test('give their results in a loop by hand, as text, as blocks, as an error', async () => {
    const one = { type: 'tool' as const, name: 'clock' }
    const messages: Anthropic.MessageParam[] = [question]
    const results = ['12:00', [{ type: 'text' as const, text: 'noon' }], 'no clock']
    for (const [turn, content] of results.entries()) {
      const message = await client.messages.create({ ...asked, messages, ...at(0), tool_choice: one })
      expect(message.stop_reason).toBe('tool_use')
      const answers = callsOf(message).map(({ id }) => ({
        ...{ type: 'tool_result' as const, tool_use_id: id, content },
        is_error: turn === 2,
      }))
      messages.push({ role: 'assistant', content: message.content }, { role: 'user', content: answers })
    }
    const last = await client.messages.create({ ...asked, messages, tool_choice: { type: 'none' } })
    expect(last.usage.output_tokens).toBeGreaterThan(0)
  })

  test.each([false, true])('run in the client’s own loop (stream: %s)', async (stream) => {
    const inputs: unknown[] = []
    const runner = client.beta.messages.toolRunner({
      ...{ model, max_tokens: 120, messages: [question], max_iterations: 2, stream, ...at(0) },
      tool_choice: { type: 'tool', name: 'weather' },
      tools: [
        betaTool({
          name: 'weather',
          description: 'Tells the weather.',
          inputSchema: schema,
          run: (input) => {
            inputs.push(input)
            return 'rain'
          },
        }),
      ],
    })
    await runner.runUntilDone()
    expect(inputs).toHaveLength(2)
    for (const input of inputs) expect(isWeather(input)).toBe(true)
  })

  test('whose schema cannot be held are refused by the keyword', async () => {
    const tools = [{ name: 't', input_schema: { type: 'object' as const, unevaluatedProperties: false } }]
    const refused = await client.messages.create({ ...asked, tools }).catch((error) => error)
    expect(refused).toBeInstanceOf(BadRequestError)
    expect(refused).toMatchObject({ type: 'invalid_request_error', errorCode: 'invalid_function_parameters' })
    expect(refused.message).toMatch(/'t'.*unevaluatedProperties/)
  })

  test('and an answer of a form are parsed by the client', async () => {
    const properties = { unit: { enum: ['C', 'F'] }, is_warm: { type: 'boolean' } } as const
    const format = jsonSchemaOutputFormat({ type: 'object', properties, required: ['unit', 'is_warm'] } as const)
    const body = { model, max_tokens: 120, messages: [question], output_config: { format } }
    const { parsed_output, stop_reason } = await client.messages.parse(body)
    expect(stop_reason).toBe('end_turn')
    expect(parsed_output).toEqual({ unit: expect.stringMatching(/^[CF]$/), is_warm: expect.any(Boolean) })
  })
})

test('tokens are counted as they are billed', async () => {
  for (const messages of [[question], [question, { role: 'assistant' as const, content: 'x = 1' }]]) {
    const asked = { model, system: 'You are terse. 写', messages }
    const { input_tokens } = await client.messages.countTokens(asked)
    const { usage } = await client.messages.create({ ...asked, max_tokens: 1 })
    expect(input_tokens).toBe(usage.input_tokens + usage.cache_read_input_tokens!)
  }
})

describe('errors are the client’s own', () => {
  test('of a key, a model, a field, a context', async () => {
    const stranger = new Anthropic({ baseURL: stack.gateway_url, apiKey: 'sk-ant-nothing', maxRetries: 0 })
    await expect(stranger.messages.create(greedy)).rejects.toBeInstanceOf(AuthenticationError)
    await expect(client.messages.create({ ...greedy, model: 'gpt' })).rejects.toBeInstanceOf(NotFoundError)
    const container = 'c'
    const refused = await client.messages.create({ ...greedy, container }).catch((error) => error)
    expect(refused).toBeInstanceOf(BadRequestError)
    expect(refused).toMatchObject({ type: 'invalid_request_error', errorCode: 'unsupported_parameter' })
    expect(refused.requestID).toMatch(/^[0-9a-f-]{36}$/)
    const long = { role: 'user' as const, content: '写'.repeat(5000) }
    const exceeded = await client.messages.create({ ...greedy, messages: [long] }).catch((error) => error)
    expect(exceeded).toMatchObject({ status: 400, errorCode: 'context_length_exceeded' })
  })

  test('of a stream as well', async () => {
    const stream = client.messages.stream({ ...greedy, model: 'gpt' })
    await expect(stream.finalMessage()).rejects.toBeInstanceOf(NotFoundError)
  })
})
