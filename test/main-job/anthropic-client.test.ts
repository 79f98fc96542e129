// Anthropic's official client against the whole service: messages, streams, counts, errors, and an answer that was begun.

import Anthropic, { AuthenticationError, BadRequestError, NotFoundError } from '@anthropic-ai/sdk'
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
    const tools = [{ name: 't', input_schema: { type: 'object' as const } }]
    const refused = await client.messages.create({ ...greedy, tools }).catch((error) => error)
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
