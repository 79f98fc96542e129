// Responses, as OpenAI's clients read them. A node writes them; what this API never has is null or empty there, because those clients'
// types ask for it.

import * as z from 'zod'
import { count } from './scalar.ts'

const itemStatus = z.enum(['in_progress', 'completed', 'incomplete'])

const topLogprob = z.strictObject({ token: z.string(), logprob: z.number(), bytes: z.array(count) })
const logprob = topLogprob.extend({ top_logprobs: z.array(topLogprob) })

const outputText = z.strictObject({
  type: z.literal('output_text'),
  text: z.string(),
  annotations: z.array(z.never()),
  logprobs: z.array(logprob), // empty where none were asked for
})

const outputMessage = z.strictObject({
  id: z.string(),
  type: z.literal('message'),
  status: itemStatus,
  role: z.literal('assistant'),
  content: z.array(outputText),
})

const functionCall = z.strictObject({
  id: z.string(),
  type: z.literal('function_call'),
  status: itemStatus,
  call_id: z.string(),
  name: z.string(),
  arguments: z.string(),
})

export const responseOutputItem = z.discriminatedUnion('type', [outputMessage, functionCall])

const usage = z.strictObject({
  input_tokens: count,
  input_tokens_details: z.strictObject({ cached_tokens: count, cache_write_tokens: z.literal(0) }),
  output_tokens: count,
  output_tokens_details: z.strictObject({ reasoning_tokens: z.literal(0) }),
  total_tokens: count,
})

const schema = z.record(z.string(), z.unknown())

const functionTool = z.strictObject({
  type: z.literal('function'),
  name: z.string(),
  description: z.string().nullable(),
  parameters: schema.nullable(),
  strict: z.boolean(),
})

const textFormat = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('text') }),
  z.strictObject({ type: z.literal('json_object') }),
  z.strictObject({
    type: z.literal('json_schema'),
    name: z.string(),
    description: z.string().nullable(),
    schema,
    strict: z.boolean(),
  }),
  z.strictObject({ type: z.literal('regex'), pattern: z.string() }),
  z.strictObject({ type: z.literal('grammar'), grammar: z.string() }),
])

const named = z.strictObject({ type: z.literal('function'), name: z.string() })

const toolChoice = z.union([
  z.enum(['none', 'auto', 'required']),
  named,
  z.strictObject({ type: z.literal('allowed_tools'), mode: z.enum(['auto', 'required']), tools: z.array(named) }),
])

/** What of a response its request said. */
const asked = {
  background: z.boolean(),
  instructions: z.string().nullable(),
  max_output_tokens: count.nullable(),
  max_tool_calls: z.null(),
  metadata: z.record(z.string(), z.string()),
  parallel_tool_calls: z.boolean(),
  previous_response_id: z.string().nullable(),
  reasoning: z.null(),
  service_tier: z.enum(['default', 'flex']),
  store: z.boolean(), // whether it can be read again
  temperature: z.number(),
  text: z.strictObject({ format: textFormat }),
  tool_choice: toolChoice,
  tools: z.array(functionTool),
  top_logprobs: count,
  top_p: z.number(),
  truncation: z.enum(['auto', 'disabled']),
  user: z.string().nullable(),
}

export const response = z.strictObject({
  id: z.string(),
  object: z.literal('response'),
  created_at: count, // Unix seconds
  completed_at: count.nullable(),
  status: z.enum(['queued', 'in_progress', 'completed', 'incomplete', 'failed', 'cancelled']),
  error: z
    .strictObject({ code: z.enum(['server_error', 'rate_limit_exceeded', 'invalid_prompt']), message: z.string() })
    .nullable(),
  incomplete_details: z.strictObject({ reason: z.literal('max_output_tokens') }).nullable(),
  model: z.string(),
  output: z.array(responseOutputItem),
  usage: usage.nullable(),
  access_programs: z.null(),
  ...asked,
})

const sequence_number = count
const ofItem = { item_id: z.string(), output_index: count, sequence_number }
const ofPart = { ...ofItem, content_index: z.literal(0) }
const logprobs = z.array(logprob)

export const responseEvent = z.discriminatedUnion('type', [
  z.strictObject({
    type: z.enum([
      'response.created',
      'response.queued',
      'response.in_progress',
      'response.completed',
      'response.incomplete',
      'response.failed',
    ]),
    response,
    sequence_number,
  }),
  z.strictObject({
    type: z.literal('error'),
    code: z.string(),
    message: z.string(),
    param: z.null(),
    sequence_number,
  }),
  z.strictObject({
    type: z.enum(['response.output_item.added', 'response.output_item.done']),
    output_index: count,
    item: responseOutputItem,
    sequence_number,
  }),
  z.strictObject({
    type: z.enum(['response.content_part.added', 'response.content_part.done']),
    ...ofPart,
    part: outputText,
  }),
  z.strictObject({
    type: z.literal('response.output_text.delta'),
    ...ofPart,
    delta: z.string(),
    logprobs,
  }),
  z.strictObject({ type: z.literal('response.output_text.done'), ...ofPart, text: z.string(), logprobs }),
  z.strictObject({ type: z.literal('response.function_call_arguments.delta'), ...ofItem, delta: z.string() }),
  z.strictObject({
    type: z.literal('response.function_call_arguments.done'),
    ...ofItem,
    name: z.string(),
    arguments: z.string(),
  }),
])

const id = z.string()

/** What a response was made from, each item as it was taken. */
export const responseInputItem = z.union([
  z.strictObject({
    id,
    type: z.literal('message'),
    status: z.literal('completed'),
    role: z.enum(['user', 'system', 'developer']),
    content: z.array(z.strictObject({ type: z.literal('input_text'), text: z.string() })),
  }),
  outputMessage,
  functionCall,
  z.strictObject({
    id,
    type: z.literal('function_call_output'),
    status: z.literal('completed'),
    call_id: z.string(),
    output: z.string(),
  }),
])

export const responseInputItems = z.strictObject({
  object: z.literal('list'),
  data: z.array(responseInputItem),
  first_id: z.string().nullable(),
  last_id: z.string().nullable(),
  has_more: z.boolean(),
})

export const responseInputTokens = z.strictObject({ object: z.literal('response.input_tokens'), input_tokens: count })

export const responseDeleted = z.strictObject({ id, object: z.literal('response'), deleted: z.literal(true) })

export type ResponseBody = z.infer<typeof response>
export type ResponseAsked = Pick<ResponseBody, keyof typeof asked>
export type ResponseEvent = z.infer<typeof responseEvent>
export type ResponseOutputItem = z.infer<typeof responseOutputItem>
export type ResponseOutputText = z.infer<typeof outputText>
export type ResponseInputItem = z.infer<typeof responseInputItem>
export type ResponseLogprob = z.infer<typeof logprob>
