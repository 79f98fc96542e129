// Clients beside the newest official one, against one running service: its major before, and the AI SDK's provider of OpenAI. Of each
// what people use it for: texts, streams, answers of a form, tools, refusals.

import { createOpenAI } from '@ai-sdk/openai'
import { APICallError, generateText, isStepCount, jsonSchema, Output, streamText, tool } from 'ai'
import OpenAI from 'openai-6'
import { zodFunction, zodResponseFormat } from 'openai-6/helpers/zod'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import * as z from 'zod'
import { type Customer, newCustomer, startTestStack, type TestStack } from '../support/stack.ts'

let stack: TestStack
let customer: Customer
let connection: { baseURL: string; apiKey: string }

beforeAll(async () => {
  stack = await startTestStack()
  customer = await newCustomer(stack)
  connection = { baseURL: `${stack.gateway_url}/v1`, apiKey: customer.api_key }
})
afterAll(() => stack?.stop())

const model = 'ziya-coding-mini'
const messages = [{ role: 'user' as const, content: '写一段快速排序' }]
const greedy = { model, temperature: 0, max_tokens: 40, messages }
const note = z.object({ unit: z.enum(['C', 'F']), days: z.array(z.enum(['mon', 'tue'])).max(2), is_warm: z.boolean() })

describe('the major of openai before', () => {
  let client: OpenAI
  beforeAll(() => {
    client = new OpenAI({ ...connection, maxRetries: 0 })
  })

  test('has the texts of the newest, whole and streamed', async () => {
    const newest = await customer.client.chat.completions.create(greedy)
    const whole = await client.chat.completions.create(greedy)
    expect(whole.choices[0]!.message).toEqual(newest.choices[0]!.message)
    const streamed = client.chat.completions.stream({ ...greedy, stream_options: { include_usage: true } })
    expect(await streamed.finalContent()).toBe(whole.choices[0]!.message.content)
    expect((await streamed.totalUsage()).completion_tokens).toBe(whole.usage!.completion_tokens)
    const completion = await client.completions.create({ model, prompt: 'def f(', temperature: 0, max_tokens: 8 })
    expect(completion.usage!.completion_tokens).toBeGreaterThan(0)
    expect((await client.models.list()).data.map(({ id }) => id)).toContain(model)
  })

  test('parses answers and arguments by its helpers', async () => {
    const format = { response_format: zodResponseFormat(note, 'note') }
    const parsed = await client.chat.completions.parse({ ...greedy, ...format, max_tokens: 120 })
    expect(note.safeParse(parsed.choices[0]!.message.parsed).success).toBe(true)
    const tools = [zodFunction({ name: 'keep', parameters: note })]
    const called = await client.chat.completions.parse({ ...greedy, tools, tool_choice: 'required', max_tokens: 200 })
    expect(called.choices[0]!.finish_reason).toBe('tool_calls')
    for (const call of called.choices[0]!.message.tool_calls!)
      expect(note.safeParse(call.function.parsed_arguments).success).toBe(true)
  })

  test('runs tools in its own loop, streamed', async () => {
    const given: unknown[] = []
    const keep = (value: z.infer<typeof note>) => {
      given.push(value)
      return 'kept'
    }
    const tools = [zodFunction({ name: 'keep', parameters: note, function: keep })]
    const runner = client.chat.completions.runTools(
      { ...greedy, max_tokens: 120, stream: true, tools, tool_choice: 'required', parallel_tool_calls: false },
      { maxChatCompletions: 2 },
    )
    await runner.done()
    expect(given).toHaveLength(2)
  })

  test('has its own errors, with the request’s id', async () => {
    const refused = await client.chat.completions.create({ ...greedy, model: 'gpt' }).catch((error: unknown) => error)
    expect(refused).toBeInstanceOf(OpenAI.NotFoundError)
    expect(refused).toMatchObject({ code: 'model_not_found', requestID: expect.stringMatching(/^[0-9a-f-]{36}$/) })
    const stranger = new OpenAI({ ...connection, apiKey: 'sk-nothing', maxRetries: 0 })
    await expect(stranger.models.list()).rejects.toBeInstanceOf(OpenAI.AuthenticationError)
  })
})

describe('the AI SDK’s provider of OpenAI', () => {
  const chat = () => createOpenAI(connection).chat(model)
  const prompt = '写一段快速排序'
  const settings = { temperature: 0, maxOutputTokens: 40 }

  test('generates and streams a text, in a chat and in a completion', async () => {
    const whole = await generateText({ model: chat(), prompt, ...settings })
    const streamed = streamText({ model: chat(), prompt, ...settings })
    expect(await streamed.text).toBe(whole.text)
    expect((await streamed.usage).outputTokens).toBe(whole.usage.outputTokens)
    const completion = createOpenAI(connection).completion(model)
    expect(
      (await generateText({ model: completion, prompt: 'def f(', ...settings })).usage.outputTokens,
    ).toBeGreaterThan(0)
  })

  test('gives an object of a schema, with what it says of itself to OpenAI', async () => {
    const providerOptions = {
      openai: { user: 'u', metadata: { team: 'a' }, promptCacheKey: 'k', parallelToolCalls: false, store: false },
    }
    const output = Output.object({ schema: note })
    const body = { model: chat(), prompt, ...settings, maxOutputTokens: 120, output, providerOptions }
    expect(note.safeParse((await generateText(body)).output).success).toBe(true)
    expect(note.safeParse(await streamText(body).output).success).toBe(true)
  })

  test('calls tools and goes on with their results', async () => {
    const inputs: unknown[] = []
    const execute = async (input: unknown) => {
      inputs.push(input)
      return 'rain'
    }
    const inputSchema = jsonSchema<{ unit: string }>({
      type: 'object',
      properties: { unit: { enum: ['C', 'F'] } },
      required: ['unit'],
      additionalProperties: false,
    })
    const asked = {
      ...{ model: chat(), prompt, ...settings, maxOutputTokens: 120, stopWhen: isStepCount(2) },
      tools: { weather: tool({ inputSchema, execute }) },
      toolChoice: { type: 'tool' as const, toolName: 'weather' as const },
    }
    await generateText(asked)
    for await (const _ of streamText(asked).textStream);
    expect(inputs).toHaveLength(4)
    for (const input of inputs) expect(input).toEqual({ unit: expect.stringMatching(/^[CF]$/) })
  })

  test('has a refusal as its own error', async () => {
    const refused = generateText({ model: createOpenAI(connection).chat('gpt'), prompt, maxRetries: 0 })
    await expect(refused).rejects.toSatisfy((error) => APICallError.isInstance(error) && error.statusCode === 404)
  })
})
