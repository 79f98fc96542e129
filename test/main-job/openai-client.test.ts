// The official client against the whole service, and the same request's counts in all four places that keep them.

import { createOpenAICompatible } from '@ai-sdk/openai-compatible'
import { generateText, isStepCount, jsonSchema, streamText, tool } from 'ai'
import { Ajv2020 } from 'ajv/dist/2020.js'
import type OpenAI from 'openai'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Customer, eventually, newCustomer, startTestStack, type TestStack } from '../support/stack.ts'

let stack: TestStack
let customer: Customer
const model = 'ziya-coding-mini'
const greedy = { model, temperature: 0, max_tokens: 120 }
const messages = [{ role: 'user' as const, content: '写一段快速排序' }]
const prompt = '<human>: \nWrite a function that reverses a string\n<bot>: \n'

beforeAll(async () => {
  stack = await startTestStack()
  customer = await newCustomer(stack)
})
afterAll(() => stack?.stop())

test('models are listed and found by id', async () => {
  const ids = (await customer.client.models.list()).data.map(({ id }) => id)
  expect(ids).toContain(model)
  expect((await customer.client.models.retrieve(model)).id).toBe(model)
})

describe('chat completions', () => {
  test('the streamed text equals the unstreamed text at temperature 0', async () => {
    const whole = await customer.client.chat.completions.create({ ...greedy, messages })
    const stream = await customer.client.chat.completions.create({
      ...greedy,
      messages,
      stream: true,
      stream_options: { include_usage: true },
    })
    let text = ''
    let usage = null
    let finish = null
    for await (const chunk of stream) {
      expect(chunk.system_fingerprint).toBe(whole.system_fingerprint)
      text += chunk.choices[0]?.delta.content ?? ''
      finish = chunk.choices[0]?.finish_reason ?? finish
      usage = chunk.usage ?? usage
    }
    expect(text.length).toBeGreaterThan(0)
    expect(whole.system_fingerprint).toMatch(/^fp_[0-9a-f]{10}$/)
    expect(text).toBe(whole.choices[0]!.message.content)
    expect(finish).toBe(whole.choices[0]!.finish_reason)
    expect(usage).toEqual(whole.usage)
  })

  test('that are stored are read again, found, changed and deleted, streamed or not', async () => {
    const { completions } = customer.client.chat
    const stored = { ...greedy, max_tokens: 24, messages, store: true }
    const whole = await completions.create({ ...stored, metadata: { of: 'whole' } })
    let text = ''
    let id = ''
    for await (const chunk of await completions.create({ ...stored, metadata: { of: 'stream' }, stream: true })) {
      text += chunk.choices[0]?.delta.content ?? ''
      id = chunk.id
    }
    const { metadata, ...read } = (await completions.retrieve(whole.id)) as typeof whole & { metadata: object }
    expect([read, metadata]).toEqual([whole, { of: 'whole' }])
    const streamed = await completions.retrieve(id)
    expect(streamed.choices[0]!.message.content).toBe(text)
    expect(streamed.usage).toEqual(whole.usage)
    const idsOf = async (query: OpenAI.ChatCompletionListParams) =>
      (await completions.list(query)).data.map(({ id }) => id)
    expect(await idsOf({})).toEqual([whole.id, id])
    expect(await idsOf({ order: 'desc', limit: 1 })).toEqual([id])
    expect(await idsOf({ after: whole.id, model })).toEqual([id])
    expect(await idsOf({ metadata: { of: 'whole' } })).toEqual([whole.id])
    expect(await idsOf({ model: 'other' })).toEqual([])
    expect(await completions.update(id, { metadata: { of: 'whole' } })).toMatchObject({ id, metadata: { of: 'whole' } })
    expect(await idsOf({ metadata: { of: 'whole' } })).toEqual([whole.id, id])
    const asked = await completions.messages.list(id)
    expect(asked.data).toMatchObject([
      { id: `${id}-0`, role: 'user', content: messages[0]!.content, content_parts: null },
    ])
    expect(await completions.delete(id)).toEqual({ object: 'chat.completion.deleted', id, deleted: true })
    await expect(completions.retrieve(id)).rejects.toMatchObject({ status: 404 })
    const { client: stranger } = await newCustomer(stack)
    await expect(stranger.chat.completions.retrieve(whole.id)).rejects.toMatchObject({ status: 404 })
    expect((await stranger.chat.completions.list()).data).toEqual([])
    // What is a chat is no response, and what did not ask for it is not stored.
    await expect(customer.client.responses.retrieve(whole.id.replace('chatcmpl-', 'resp_'))).rejects.toMatchObject({
      status: 404,
    })
    const { id: unstored } = await completions.create({ ...stored, store: false })
    await expect(completions.retrieve(unstored)).rejects.toMatchObject({ status: 404 })
  })

  test('the same seed gives the same text, and another seed another', async () => {
    const ask = async (seed: number) => {
      const body = { model, messages, seed, temperature: 1.5, top_p: 1, max_tokens: 40 }
      return (await customer.client.chat.completions.create(body)).choices[0]!.message.content
    }
    const [first, again, other] = await Promise.all([ask(7), ask(7), ask(8)])
    expect(again).toBe(first)
    expect(other).not.toBe(first)
  })
})

describe('a prompt that is scored', () => {
  interface Scored {
    choices: {
      text: string
      finish_reason: string
      token_ids: number[]
      prompt_token_ids: number[]
      logprobs: OpenAI.Completion['choices'][0]['logprobs']
    }[]
    usage: { prompt_tokens: number; completion_tokens: number }
  }
  const ask = async (body: object) => {
    const response = await customer.fetch('/v1/completions', {
      method: 'POST',
      body: JSON.stringify({ model, ...body }),
    })
    expect(response.status, await response.clone().text()).toBe(200)
    return { answer: (await response.json()) as Scored, request_id: response.headers.get('x-request-id')! }
  }

  test('gets the log-probabilities that its tokens had when they were drawn, and costs its tokens alone', async () => {
    const drawn = (await ask({ prompt, temperature: 1, max_tokens: 60, logprobs: 1, return_token_ids: true })).answer
      .choices[0]!
    const ids = [...drawn.prompt_token_ids, ...drawn.token_ids]
    const { answer, request_id } = await ask({ prompt: [ids], max_tokens: 0, echo: true, logprobs: 1 })
    const { token_logprobs, tokens, top_logprobs } = answer.choices[0]!.logprobs!
    expect(tokens).toHaveLength(ids.length)
    expect([token_logprobs![0], top_logprobs![0]]).toEqual([null, null])
    const from = drawn.prompt_token_ids.length
    expect(token_logprobs!.slice(from, from + drawn.logprobs!.tokens!.length)).toEqual(drawn.logprobs!.token_logprobs)
    expect(answer.choices[0]).toMatchObject({ finish_reason: 'length', text: expect.stringContaining(drawn.text) })
    expect(answer.usage).toMatchObject({ prompt_tokens: ids.length, completion_tokens: 0 })
    const { value: receipt } = await eventually(async () => {
      const told = (await (await customer.fetch(`/v1/usage/${request_id}`)).json()) as Record<string, unknown>
      return told.state === 'posted' ? told : null
    })
    expect(receipt).toMatchObject({
      outcome: 'length',
      prompt_tokens: ids.length,
      cached_tokens: 0,
      completion_tokens: 0,
      first_token_ms: null,
      cost_nanousd: String(ids.length * Number(receipt.input_nanousd_per_token)),
    })
  })

  test('is answered as a harness reads it: a token more, and the likeliest beside each', async () => {
    const prompts = [
      [1, ...Array.from({ length: 20 }, (_, i) => 300 + i)],
      [1, 400, 401, 402],
    ]
    const { answer } = await ask({
      prompt: prompts,
      max_tokens: 1,
      echo: true,
      logprobs: 1,
      temperature: 0,
      seed: 1234,
    })
    for (const [i, { logprobs }] of answer.choices.entries()) {
      const length = prompts[i]!.length
      expect(logprobs!.token_logprobs).toHaveLength(length + 1)
      for (const [at, top] of logprobs!.top_logprobs!.entries())
        if (at > 0) expect(Math.max(...Object.values(top!))).toBeGreaterThanOrEqual(logprobs!.token_logprobs![at]!)
    }
  })

  test('is truncated to its last tokens, which are what it costs', async () => {
    const whole = (await ask({ prompt, max_tokens: 0, echo: true, return_token_ids: true })).answer.choices[0]!
      .prompt_token_ids
    const { answer } = await ask({
      prompt: prompt.repeat(100),
      max_tokens: 4,
      truncate_prompt_tokens: 7,
      return_token_ids: true,
    })
    expect(answer.choices[0]!.prompt_token_ids).toEqual(whole.slice(-7))
    expect(answer.usage.prompt_tokens).toBe(7)
    const fitted = await ask({ prompt: prompt.repeat(100), max_tokens: 4, truncate_prompt_tokens: -1 })
    expect(fitted.answer.usage.prompt_tokens).toBe(1020)
  })
})

test('a prediction changes no text, and what came true of it is counted, streamed or not', async () => {
  const body = { ...greedy, messages }
  const plain = await customer.client.chat.completions.create(body)
  expect(plain.usage).not.toHaveProperty('completion_tokens_details')
  const text = plain.choices[0]!.message.content!
  const prediction = { type: 'content' as const, content: `${text.slice(0, 60)}changed${text.slice(60)}` }
  const whole = await customer.client.chat.completions.create({ ...body, prediction })
  expect(whole.choices[0]!.message.content).toBe(text)
  const { accepted_prediction_tokens, rejected_prediction_tokens } = whole.usage!.completion_tokens_details!
  expect(accepted_prediction_tokens).toBeGreaterThan(10)
  expect(rejected_prediction_tokens).toBeGreaterThan(0)
  const stream = await customer.client.chat.completions.create({
    ...body,
    prediction,
    stream: true,
    stream_options: { include_usage: true },
  })
  let usage = null
  for await (const chunk of stream) usage = chunk.usage ?? usage
  expect(usage!.completion_tokens_details).toEqual(whole.usage!.completion_tokens_details)
})

describe('structured output', () => {
  const schema = {
    type: 'object',
    properties: {
      name: { type: 'string', maxLength: 20 },
      kind: { enum: ['function', 'class', null] },
      lines: { type: 'integer', minimum: 1, maximum: 400 },
      tags: { type: 'array', items: { type: 'string', pattern: '^[a-z]{1,8}$' }, maxItems: 3 },
    },
    required: ['name', 'kind', 'lines', 'tags'],
    additionalProperties: false,
  }
  const ask = (response_format: OpenAI.ResponseFormatJSONSchema | OpenAI.ResponseFormatJSONObject, more: object = {}) =>
    customer.client.chat.completions.create({
      model,
      messages,
      temperature: 1,
      max_tokens: 200,
      response_format,
      ...more,
    })

  test('follows a schema, whole or streamed, in every choice', async () => {
    const format = { type: 'json_schema', json_schema: { name: 'note', schema, strict: true } } as const
    const isValid = new Ajv2020().compile(schema)
    const whole = await ask(format, { n: 3, seed: 5 })
    for (const { message, finish_reason } of whole.choices) {
      expect(finish_reason).toBe('stop')
      expect(isValid(JSON.parse(message.content!)), message.content!).toBe(true)
      expect(message.refusal).toBe(null)
    }
    const stream = customer.client.chat.completions.stream({
      ...{ model, messages, temperature: 1, max_tokens: 200, seed: 5 },
      response_format: format,
    })
    expect(await stream.finalContent()).toBe(whole.choices[0]!.message.content)
  })

  test('parses by the client itself', async () => {
    const response_format = { type: 'json_schema', json_schema: { name: 'note', schema, strict: true } } as const
    const parsed = await customer.client.chat.completions.parse({
      ...greedy,
      max_tokens: 200,
      messages,
      response_format,
    })
    expect(parsed.choices[0]!.message.content).toMatch(/^\{"name"/)
  })

  test('by a regular expression or a grammar is what it reads', async () => {
    const formats = [
      { type: 'regex', pattern: '(yes|no)( [a-z]{3}){2}' },
      { type: 'grammar', grammar: 'root ::= ("yes" | "no") (" " [a-z]{3}){2}' },
    ]
    for (const response_format of formats) {
      const body = { ...greedy, temperature: 1, seed: 1, messages, response_format }
      const response = await customer.fetch('/v1/chat/completions', { method: 'POST', body: JSON.stringify(body) })
      const { choices } = (await response.json()) as OpenAI.ChatCompletion
      expect(choices[0]!.message.content).toMatch(/^(yes|no)( [a-z]{3}){2}$/)
    }
  })

  test('of what cannot be held is refused by the name of its keyword, and costs nothing', async () => {
    const refused = ask({
      type: 'json_schema',
      json_schema: { name: 'a', schema: { type: 'object', minProperties: 1 } },
    })
    await expect(refused).rejects.toMatchObject({
      status: 400,
      code: 'invalid_response_format',
      param: 'response_format',
      message: expect.stringContaining("'minProperties'"),
    })
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
  const weather = { type: 'function', function: { name: 'weather', description: 'Tells it.', parameters } } as const
  const now = { type: 'function', function: { name: 'now' } } as const
  const asked = { ...greedy, messages, tools: [weather, now] }
  const expectCall = ({ id, function: { name, arguments: text } }: OpenAI.ChatCompletionMessageFunctionToolCall) => {
    expect(id).toMatch(/^call_[\da-f]{24}$/)
    if (name === 'now') expect(text).toBe('{}')
    else expect(isValid(JSON.parse(text)), text).toBe(true)
  }
  const callsOf = ({ message }: OpenAI.ChatCompletion.Choice) =>
    (message.tool_calls ?? []) as OpenAI.ChatCompletionMessageFunctionToolCall[]

  test('that must be called are called, in every choice, with arguments that follow their schema', async () => {
    const body = { ...asked, temperature: 1.5, seed: 3, n: 4, tool_choice: 'required' } as const
    const { choices, usage } = await customer.client.chat.completions.create(body)
    const whole = choices.filter(({ finish_reason }) => finish_reason === 'tool_calls')
    expect(whole.length).toBeGreaterThan(0)
    for (const choice of whole) {
      expect(choice.message.content).toBe(null)
      callsOf(choice).forEach(expectCall)
    }
    expect(new Set(choices.flatMap(callsOf).map(({ id }) => id)).size).toBe(choices.flatMap(callsOf).length)
    expect(usage!.completion_tokens).toBeGreaterThan(0)
  })

  test('by name are that one, once where no more are asked for; streamed the same', async () => {
    const body = {
      ...{ ...asked, temperature: 1, seed: 11, parallel_tool_calls: false },
      tool_choice: { type: 'function', function: { name: 'weather' } },
    } as const
    const whole = (await customer.client.chat.completions.create(body)).choices[0]!
    expect(whole).toMatchObject({ finish_reason: 'tool_calls', message: { content: null } })
    expect(callsOf(whole)).toHaveLength(1)
    const stream = await customer.client.chat.completions.create({ ...body, stream: true })
    const deltas: OpenAI.ChatCompletionChunk.Choice.Delta.ToolCall[] = []
    let finish = null
    for await (const { choices } of stream) {
      deltas.push(...(choices[0]?.delta.tool_calls ?? []))
      finish = choices[0]?.finish_reason ?? finish
    }
    const [first, ...rest] = deltas
    expect(first).toEqual({ index: 0, id: first!.id, type: 'function', function: { name: 'weather', arguments: '' } })
    expect(rest.length).toBeGreaterThan(1)
    for (const delta of rest) expect(delta).toEqual({ index: 0, function: { arguments: expect.any(String) } })
    expect(deltas.map((delta) => delta.function!.arguments).join('')).toBe(callsOf(whole)[0]!.function.arguments)
    expect(finish).toBe('tool_calls')
  })

  test('that may be called are called or not, and never by half', async () => {
    const seeds = [1, 2, 3, 4]
    const answers = await Promise.all(
      seeds.map((seed) => customer.client.chat.completions.create({ ...asked, temperature: 2, seed, max_tokens: 60 })),
    )
    for (const { choices } of answers) {
      if (choices[0]!.finish_reason === 'tool_calls') callsOf(choices[0]!).forEach(expectCall)
      else expect(choices[0]!.message.content).not.toContain('<tool_call>')
    }
  })

  test('run in the client’s own loop, their results in the conversation', async () => {
    const seen: unknown[] = []
    const run = (given: unknown) => {
      seen.push(given)
      return 'rain'
    }
    const runner = customer.client.chat.completions.runTools(
      {
        ...{ ...greedy, messages, tool_choice: 'required', parallel_tool_calls: false },
        tools: [{ ...weather, function: { ...weather.function, parse: JSON.parse, function: run } }],
      },
      { maxChatCompletions: 2 },
    )
    await runner.done()
    expect(seen).toHaveLength(2)
    for (const given of seen) expect(isValid(given)).toBe(true)
    expect(runner.messages.map(({ role }) => role)).toEqual(['user', 'assistant', 'tool', 'assistant', 'tool'])
  })

  test('run in the loop of the AI SDK, whole and streamed', async () => {
    const provider = createOpenAICompatible({
      ...{ name: 'ziya', baseURL: customer.client.baseURL, apiKey: customer.api_key },
      supportsStructuredOutputs: true,
    })
    const seen: unknown[] = []
    const execute = (given: unknown) => {
      seen.push(given)
      return 'rain'
    }
    const loop = {
      ...{ model: provider(model), temperature: 0, maxOutputTokens: 120, prompt: 'Wie wird es?', maxRetries: 0 },
      tools: { weather: tool({ description: 'Tells it.', inputSchema: jsonSchema(parameters as object), execute }) },
      toolChoice: 'required',
      providerOptions: { ziya: { parallel_tool_calls: false } },
      stopWhen: isStepCount(2),
    } as const
    const whole = await generateText(loop)
    expect(whole.steps.map(({ finishReason }) => finishReason)).toEqual(['tool-calls', 'tool-calls'])
    const streamed = streamText(loop)
    expect((await streamed.steps).map(({ finishReason }) => finishReason)).toEqual(['tool-calls', 'tool-calls'])
    expect(seen.length).toBeGreaterThanOrEqual(4)
    for (const given of seen) expect(isValid(given)).toBe(true)
  })

  test('whose parameters cannot be held are refused by the name of the tool and of the keyword', async () => {
    const tools = [{ type: 'function' as const, function: { name: 'a', parameters: { minProperties: 1 } } }]
    await expect(customer.client.chat.completions.create({ ...asked, tools })).rejects.toMatchObject({
      ...{ status: 400, code: 'invalid_function_parameters', param: 'tools' },
      message: expect.stringMatching(/'a'.*'minProperties'/),
    })
  })
})

describe('completions', () => {
  test('the streamed text equals the unstreamed text at temperature 0', async () => {
    const whole = await customer.client.completions.create({ ...greedy, prompt })
    const stream = await customer.client.completions.create({ ...greedy, prompt, stream: true })
    let text = ''
    for await (const chunk of stream) text += chunk.choices[0]?.text ?? ''
    expect(text.length).toBeGreaterThan(0)
    expect(text).toBe(whole.choices[0]!.text)
  })

  test('several prompts give a choice each, and the same text as alone', async () => {
    const prompts = [prompt, '<human>: \n写一段快速排序\n<bot>: \n']
    const together = await customer.client.completions.create({ ...greedy, prompt: prompts })
    const alone = await Promise.all(
      prompts.map((one) => customer.client.completions.create({ ...greedy, prompt: one })),
    )
    expect(together.choices.map(({ text }) => text)).toEqual(alone.map(({ choices }) => choices[0]!.text))
    expect(together.usage!.prompt_tokens).toBe(alone.reduce((sum, { usage }) => sum + usage!.prompt_tokens, 0))
  })

  test('token ids are taken as they are', async () => {
    const completion = await customer.client.completions.create({ model, prompt: [1, 50, 60], max_tokens: 3 })
    expect(completion.usage!.prompt_tokens).toBe(3)
  })

  test('a stop string ends the text before it', async () => {
    const { text } = (await customer.client.completions.create({ ...greedy, prompt })).choices[0]!
    const stop = text.slice(10, 13)
    const stopped = await customer.client.completions.create({ ...greedy, prompt, stop })
    expect(stopped.choices[0]!.text).toBe(text.slice(0, text.indexOf(stop)))
    expect(stopped.choices[0]!.finish_reason).toBe('stop')
  })
})

test('what can wait is charged by its own price, and its metadata stand on its receipt', async () => {
  const price = { model, service_tier: 'flex', input_nanousd_per_token: '3', output_nanousd_per_token: '5' }
  const headers = { authorization: `Bearer ${stack.admin_key}`, 'content-type': 'application/json' }
  const published = { method: 'POST', headers, body: JSON.stringify(price) }
  expect((await fetch(`${stack.gateway_url}/admin/prices`, published)).status).toBe(201)
  const body = { ...greedy, messages, service_tier: 'flex', metadata: { team: 'a' } } as const
  const { data, response } = await customer.client.chat.completions.create(body).withResponse()
  expect(data.service_tier).toBe('flex')
  const plain = await customer.client.chat.completions.create({ ...greedy, messages })
  expect(data.choices[0]!.message).toEqual(plain.choices[0]!.message)
  const { value: bill } = await eventually(async () => {
    const answer = (await (await customer.fetch(`/v1/usage/${response.headers.get('x-request-id')}`)).json()) as Bill
    return answer.state === 'posted' ? answer : null
  })
  const { prompt_tokens, completion_tokens } = data.usage!
  expect(bill).toMatchObject({ service_tier: 'flex', metadata: { team: 'a' } })
  const cost = 3 * prompt_tokens + 5 * completion_tokens
  expect(bill.cost_nanousd).toBe(String(cost))
})

interface Bill {
  state: string
  cost_nanousd: string
}

test('usage is the same in the answer, at /v1/usage, in the ledger and in the journal', async () => {
  const { data, response } = await customer.client.chat.completions.create({ ...greedy, messages }).withResponse()
  const request_id = response.headers.get('x-request-id')!
  const { value: bill } = await eventually(async () => {
    const answer = (await (await customer.fetch(`/v1/usage/${request_id}`)).json()) as Record<string, unknown>
    return answer.state === 'posted' ? answer : null
  })
  const { prompt_tokens, completion_tokens } = data.usage!
  expect(bill).toMatchObject({ prompt_tokens, completion_tokens })

  const [row] = await stack.sql`
    select u.prompt_tokens::int, u.completion_tokens::int, e.amount_nanousd,
      (u.prompt_tokens * p.input_nanousd_per_token + u.completion_tokens * p.output_nanousd_per_token)::text as price
    from usage u join reservations r using (request_id) join prices p on (p.model, p.version) = (r.model, r.price_version)
      join entries e using (request_id) where request_id = ${request_id}`
  expect(row).toMatchObject({ prompt_tokens, completion_tokens })
  expect(row!.amount_nanousd).toBe(row!.price)
  expect(bill.cost_nanousd).toBe(row!.price)

  const finished = stack
    .readJournal()
    .split('\n')
    .filter((line) => line.includes(request_id) && line.includes('"outcome"'))
  expect(finished.length).toBeGreaterThan(0)
  expect(finished.at(-1)).toContain(`"completion_tokens":${completion_tokens}`)
})
