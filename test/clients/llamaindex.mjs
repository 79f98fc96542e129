// LlamaIndex: texts, streams, a tool.

import assert from 'node:assert/strict'
import { OpenAI } from '@llamaindex/openai'
import { tool } from 'llamaindex'
import * as z from 'zod'

const { BASE_URL: baseURL, API_KEY: apiKey, MODEL: model } = process.env
const llm = new OpenAI({ model, apiKey, baseURL, temperature: 0, maxTokens: 120, maxRetries: 0 })
const messages = [
  { role: 'system', content: 'You are terse.' },
  { role: 'user', content: [{ type: 'text', text: '写一段快速排序' }] },
]

const whole = (await llm.chat({ messages })).message.content
assert(whole)
let streamed = ''
for await (const { delta } of await llm.chat({ messages, stream: true })) streamed += delta
assert.equal(streamed, whole)

const parameters = z.object({ unit: z.enum(['C', 'F']) })
const weather = tool({ name: 'weather', description: 'Tells it.', parameters, execute: () => 'rain' })
const { message } = await llm.chat({ messages, tools: [weather], additionalChatOptions: { tool_choice: 'required' } })
assert(message.options.toolCall.length > 0)
console.log('@llamaindex/openai')
