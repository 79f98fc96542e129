// OpenAI's Agents SDK, whose default is the Responses API: an agent that calls a tool and goes on with its result, whole and streamed, with
// a conversation that the service keeps and one that the client does.

import assert from 'node:assert/strict'
import { Agent, OpenAIProvider, Runner, tool } from '@openai/agents'
import { z } from 'zod'

const { BASE_URL: baseURL, API_KEY: apiKey, MODEL: model } = process.env
const asked = []
const weather = tool({
  name: 'weather',
  description: 'Tells the weather.',
  parameters: z.object({ unit: z.enum(['C', 'F']) }),
  execute: ({ unit }) => {
    asked.push(unit)
    return 'rain'
  },
})
const runner = new Runner({ modelProvider: new OpenAIProvider({ apiKey, baseURL }), tracingDisabled: true })

// With the first call its choice of tools is free again: what follows is an answer of that form, or a call that is answered as the first.
const agentOf = (store) =>
  new Agent({
    name: 'forecaster',
    instructions: 'Tell the weather.',
    model,
    tools: [weather],
    outputType: z.object({ unit: z.enum(['C', 'F']) }),
    modelSettings: { toolChoice: 'required', parallelToolCalls: false, temperature: 0, maxTokens: 200, store },
  })

for (const store of [true, false]) {
  const whole = await runner.run(agentOf(store), 'How is it?', { maxTurns: 10 })
  const calls = whole.newItems.filter(({ type }) => type === 'tool_call_item')
  const results = whole.newItems.filter(({ type }) => type === 'tool_call_output_item')
  assert(calls.length >= 1 && results.length === calls.length)
  assert.match(whole.finalOutput.unit, /^[CF]$/)
  const stream = await runner.run(agentOf(store), 'How is it?', { maxTurns: 10, stream: true })
  const types = new Set()
  for await (const event of stream) types.add(event.type)
  await stream.completed
  assert(types.has('raw_model_stream_event') && types.has('run_item_stream_event'))
  assert.deepEqual(stream.finalOutput, whole.finalOutput)
}
assert(asked.length >= 4 && asked.every((unit) => ['C', 'F'].includes(unit)))
console.log('@openai/agents runs a loop of tools over Responses')
