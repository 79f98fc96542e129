// Messages, as Anthropic's clients read them. A node writes them; what this API never has is null there, because those clients' types ask
// for it.

import * as z from 'zod'
import { count } from './scalar.ts'

const stopReason = z.enum(['end_turn', 'max_tokens', 'stop_sequence', 'tool_use'])

const counts = {
  input_tokens: count, // without what was read from the cache
  cache_creation_input_tokens: count,
  cache_read_input_tokens: count,
  output_tokens: count,
  output_tokens_details: z.null(),
  server_tool_use: z.null(),
}

const messageUsage = z.strictObject({
  ...counts,
  cache_creation: z.null(),
  inference_geo: z.null(),
  service_tier: z.literal('standard'),
  speed: z.null(),
})

const textBlock = z.strictObject({ type: z.literal('text'), text: z.string(), citations: z.null() })

/** A call of a tool. Of one that `max_tokens` or a stop sequence cut it has the members that came whole. */
const toolUse = z.strictObject({
  type: z.literal('tool_use'),
  id: z.string(),
  caller: z.strictObject({ type: z.literal('direct') }),
  name: z.string(),
  input: z.record(z.string(), z.unknown()),
})

const ending = {
  container: z.null(),
  stop_details: z.null(),
  stop_reason: stopReason.nullable(),
  stop_sequence: z.string().nullable(),
}

export const message = z.strictObject({
  id: z.string(),
  type: z.literal('message'),
  role: z.literal('assistant'),
  model: z.string(),
  content: z.array(z.discriminatedUnion('type', [textBlock, toolUse])),
  diagnostics: z.null(),
  ...ending,
  usage: messageUsage,
})

export const messageErrorType = z.enum([
  'invalid_request_error',
  'authentication_error',
  'billing_error',
  'permission_error',
  'not_found_error',
  'request_too_large',
  'rate_limit_error',
  'api_error',
  'overloaded_error',
])

export const messageError = z.strictObject({
  type: z.literal('error'),
  error: z.strictObject({
    type: messageErrorType,
    message: z.string(),
    // Which refusal of this API it is, and of which parameter.
    details: z.strictObject({ error_code: z.string(), param: z.string().nullable() }),
  }),
  request_id: z.string(),
})

const index = count // of the block

export const messageEvent = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('message_start'), message }),
  z.strictObject({
    type: z.literal('content_block_start'),
    index,
    content_block: z.discriminatedUnion('type', [textBlock, toolUse]),
  }),
  z.strictObject({ type: z.literal('ping') }),
  z.strictObject({
    type: z.literal('content_block_delta'),
    index,
    delta: z.discriminatedUnion('type', [
      z.strictObject({ type: z.literal('text_delta'), text: z.string() }),
      z.strictObject({ type: z.literal('input_json_delta'), partial_json: z.string() }),
    ]),
  }),
  z.strictObject({ type: z.literal('content_block_stop'), index }),
  z.strictObject({ type: z.literal('message_delta'), delta: z.strictObject(ending), usage: z.strictObject(counts) }),
  z.strictObject({ type: z.literal('message_stop') }),
  messageError,
])

export const messageTokens = z.strictObject({ input_tokens: count })

export type Message = z.infer<typeof message>
export type MessageBlock = Message['content'][number]
export type MessageEvent = z.infer<typeof messageEvent>
export type MessageError = z.infer<typeof messageError>
export type MessageErrorType = z.infer<typeof messageErrorType>
export type MessageStopReason = z.infer<typeof stopReason>
