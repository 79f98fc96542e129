// LangChain: texts, streams, answers of a form by either way, tools.

import assert from 'node:assert/strict'
import { HumanMessage, SystemMessage, ToolMessage } from '@langchain/core/messages'
import { tool } from '@langchain/core/tools'
import { ChatOpenAI } from '@langchain/openai'
import * as z from 'zod'

const { BASE_URL: baseURL, API_KEY: apiKey, MODEL: model } = process.env
const chat = new ChatOpenAI({
  ...{ model, apiKey, temperature: 0, maxTokens: 120, maxRetries: 0, streamUsage: true },
  configuration: { baseURL },
})
const asked = [new SystemMessage('You are terse.'), new HumanMessage({ content: '写一段快速排序', name: 'ann' })]
const note = z.object({ unit: z.enum(['C', 'F']), is_warm: z.boolean() })

const whole = await chat.invoke(asked)
assert(whole.content && whole.usage_metadata.output_tokens > 0)
let streamed = ''
for await (const chunk of await chat.stream(asked)) streamed += chunk.content
assert.equal(streamed, whole.content)

for (const method of ['jsonSchema', 'functionCalling'])
  note.parse(await chat.withStructuredOutput(note, { method, strict: true }).invoke(asked))

const weather = tool(async () => 'rain', { name: 'weather', description: 'Tells it.', schema: note })
const called = await chat.bindTools([weather], { tool_choice: 'any', parallel_tool_calls: false }).invoke(asked)
assert.equal(called.tool_calls.length, 1)
note.parse(called.tool_calls[0].args)
const result = new ToolMessage({ content: 'rain', tool_call_id: called.tool_calls[0].id })
assert((await chat.bindTools([weather]).invoke([...asked, called, result])).usage_metadata.output_tokens > 0)
await assert.rejects(new ChatOpenAI({ model: 'gpt', apiKey, maxRetries: 0, configuration: { baseURL } }).invoke(asked))
console.log('@langchain/openai')
