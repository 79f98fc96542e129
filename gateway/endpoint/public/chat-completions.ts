// POST /v1/chat/completions: messages, put into the model's own template.

import * as z from 'zod'
import { LOGPROBS_MAX } from '../../../contract/internal/generation.ts'
import { chatCompletion, chatCompletionChunk } from '../../../contract/public/openai.ts'
import type { Caller } from '../../auth/authenticate.ts'
import { endpoint } from '../../endpoint.ts'
import { ApiError } from '../../error.ts'
import { generationFields, unsupported } from '../../field/generation.ts'
import { text } from '../../field/text.ts'
import { type GenerationForm, generate } from '../../generate/generate.ts'
import { generateRequest } from '../../generate/generate-request.ts'
import { type Chat, chatPrompt, type Turn } from '../../prompt/template.ts'

const MESSAGES_MAX = 256

const content = z
  .union([text, z.array(z.strictObject({ type: z.literal('text'), text })).min(1)], {
    error: "expected a string or an array of {type: 'text', text}, without NUL and lone surrogates",
  })
  .transform((value) => (typeof value === 'string' ? value : value.map((part) => part.text).join('')))

const message = z.strictObject({
  role: z.enum(['system', 'developer', 'user', 'assistant']),
  content,
  // Our own answers carry these, so a caller may hand them back as they are.
  refusal: unsupported(),
  annotations: unsupported([]),
  audio: unsupported(),
  function_call: unsupported(),
  name: unsupported(),
  tool_calls: unsupported([]),
})

const body = z.strictObject({
  ...generationFields,
  messages: z.array(message).min(1).max(MESSAGES_MAX),
  max_completion_tokens: generationFields.max_tokens,
  audio: unsupported(),
  function_call: unsupported('none'),
  functions: unsupported([]),
  logprobs: z.boolean().nullish(),
  top_logprobs: z.int().min(0).max(LOGPROBS_MAX).nullish(),
  metadata: unsupported({}),
  modalities: unsupported(['text']),
  parallel_tool_calls: unsupported(),
  prediction: unsupported(),
  reasoning_effort: unsupported(),
  response_format: unsupported({ type: 'text' }),
  service_tier: unsupported('auto', 'default'),
  store: unsupported(false),
  tool_choice: unsupported('none'),
  tools: unsupported([]),
  web_search_options: unsupported(),
})

type Body = z.infer<typeof body>

const form: GenerationForm<Body> = {
  schema: body,
  format: (fields, own) =>
    generateRequest(
      { ...fields, max_tokens: maxTokens(fields) },
      {
        ...own,
        shape: 'chat',
        prompts: [chatPrompt(own.model.template, chatOf(fields.messages))],
        logprobs: logprobsOf(fields),
      },
    ),
}

export const chatCompletions = endpoint(
  { says: 'Answers a conversation.', body, answer: chatCompletion, also: { 'text/event-stream': chatCompletionChunk } },
  (c, caller: Caller) => generate(c, caller, form),
)

function maxTokens({ max_tokens, max_completion_tokens }: Body): number | null | undefined {
  if (max_tokens != null && max_completion_tokens != null && max_tokens !== max_completion_tokens)
    throw new ApiError('invalid_value', {
      param: 'max_tokens',
      message: "'max_tokens' and 'max_completion_tokens' are two names of one limit; give one.",
    })
  return max_completion_tokens ?? max_tokens
}

function logprobsOf({ logprobs, top_logprobs }: Body): number | null {
  if (logprobs) return top_logprobs ?? 0
  if (!top_logprobs) return null
  throw new ApiError('invalid_value', { param: 'top_logprobs', message: "'top_logprobs' needs 'logprobs': true." })
}

function chatOf(messages: Body['messages']): Chat {
  const isSystem = ({ role }: Body['messages'][number]) => role === 'system' || role === 'developer'
  const system = messages
    .filter(isSystem)
    .map((message) => message.content)
    .join('\n')
  const turns = messages.filter((message) => !isSystem(message)).reduce(addTurn, [])
  if (turns[0]?.role !== 'user' || turns.at(-1)?.role !== 'user' || isSystem(messages.at(-1)!))
    throw new ApiError('invalid_value', {
      param: 'messages',
      message: 'The conversation must begin with a user message, after any system messages, and end with one.',
    })
  return { system, turns }
}

// Templates know alternating turns only: neighbours of one role become one.
function addTurn(turns: Turn[], { role, content }: Body['messages'][number]): Turn[] {
  const last = turns.at(-1)
  if (last?.role === role) last.text += `\n${content}`
  else turns.push({ role: role as Turn['role'], text: content })
  return turns
}
