// The Responses API by its official client, against the whole service.

import type OpenAI from 'openai'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Customer, newCustomer, startTestStack, type TestStack } from '../support/stack.ts'

let stack: TestStack
let customer: Customer
const model = 'ziya-coding-mini'
const greedy = { model, temperature: 0, max_output_tokens: 40 }
const input = '写一段快速排序'

beforeAll(async () => {
  stack = await startTestStack()
  customer = await newCustomer(stack)
})
afterAll(() => stack?.stop())

describe('a response', () => {
  test('says what a chat says, whole, streamed and by the helper', async () => {
    const { responses, chat } = customer.client
    const said = await chat.completions.create({
      ...{ model, temperature: 0, max_tokens: 40 },
      messages: [{ role: 'user', content: input }],
    })
    const whole = await responses.create({ ...greedy, input })
    expect(whole.output_text).toBe(said.choices[0]!.message.content)
    expect(whole.usage).toMatchObject({ input_tokens: said.usage!.prompt_tokens, output_tokens: 40 })
    expect(whole).toMatchObject({ status: 'incomplete', incomplete_details: { reason: 'max_output_tokens' } })
    let text = ''
    let last: OpenAI.Responses.ResponseStreamEvent | null = null
    for await (const event of await responses.create({ ...greedy, input, stream: true })) {
      if (event.type === 'response.output_text.delta') text += event.delta
      expect(event.sequence_number).toBe(last ? last.sequence_number + 1 : 0)
      last = event
    }
    expect(text).toBe(whole.output_text)
    expect(last!.type).toBe('response.incomplete')
    const helped = await responses.stream({ ...greedy, input }).finalResponse()
    expect(helped.output_text).toBe(text)
    expect(helped.status).toBe('incomplete')
  })
})
