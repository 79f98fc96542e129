// POST /v1/chat/completions: messages, put into the model's own template.

import * as z from 'zod'
import { LOGPROBS_MAX } from '../../../contract/internal/generation.ts'
import { chatCompletion, chatCompletionChunk } from '../../../contract/public/openai.ts'
import type { Caller } from '../../auth/authenticate.ts'
import { endpoint } from '../../endpoint.ts'
import { ApiError } from '../../error.ts'
import { generationFields, unusedFields } from '../../field/generation.ts'
import { text } from '../../field/text.ts'
import { askingNothing, hint, unsupported, unusedIn } from '../../field/unused.ts'
import { type GenerationForm, generate } from '../../generate/generate.ts'
import { generateRequest } from '../../generate/generate-request.ts'
import { type Chat, chatPrompt, type Turn, turnsOf } from '../../prompt/template.ts'

const MESSAGES_MAX = 256

const part = z.looseObject({ type: z.literal('text'), text })

const content = z
  .union([text, z.array(part).min(1)], {
    error: "expected a string or an array of {type: 'text', text}, without NUL and lone surrogates",
  })
  .transform((value) => (typeof value === 'string' ? value : value.map((part) => part.text).join('')))

const history = {
  // What a model said elsewhere may come back with these, and asks for nothing where they are empty.
  refusal: unsupported(),
  annotations: unsupported([]),
  audio: unsupported(),
  function_call: unsupported(),
  tool_calls: unsupported([]),
}

// Clients' own helpers put more on a message before they hand it back. No template writes it, so it is taken and named as not used.
const message = z
  .looseObject({
    role: z.enum(['system', 'developer', 'user', 'assistant']),
    ...history,
    content: content.nullish(), // a helper that found no text in an answer hands back null
  })
  .refine(({ role, content }) => role === 'assistant' || content != null, {
    path: ['content'],
    params: { code: 'invalid_type' },
    error: 'expected the text of the message',
  })

/** What a prompt is made of. */
export const conversation = {
  messages: z.array(message).min(1).max(MESSAGES_MAX),
  continue_final_message: z.boolean().nullish(),
  add_generation_prompt: z.boolean().nullish(),
}

const body = z
  .object({
    ...generationFields,
    ...conversation,
    max_completion_tokens: generationFields.max_tokens,
    tools: unsupported([]), // before what only goes with it, so that a refusal names what matters
    functions: unsupported([]),
    tool_choice: hint('none', 'auto'),
    function_call: hint('none', 'auto'),
    parallel_tool_calls: hint(),
    audio: unsupported(),
    logprobs: z.boolean().nullish(),
    top_logprobs: z.int().min(0).max(LOGPROBS_MAX).nullish(),
    modalities: unsupported(['text']),
    reasoning_effort: hint('none'),
    response_format: unsupported({ type: 'text' }),
    verbosity: hint('medium'),
    web_search_options: unsupported(),
  })
  .catchall(askingNothing())

type Conversation = z.infer<z.ZodObject<typeof conversation>>
type Body = z.infer<typeof body>

export const chatForm: GenerationForm<Body> = {
  schema: body,
  format: (fields, own) =>
    generateRequest(
      { ...fields, max_tokens: maxTokens(fields) },
      {
        ...own,
        shape: 'chat',
        prompts: [chatPrompt(own.model.template, chatOf(fields))],
        logprobs: logprobsOf(fields),
      },
    ),
  unused: (given) => unusedOf(given as Given),
}

export const chatCompletions = endpoint(
  { says: 'Answers a conversation.', body, answer: chatCompletion, also: { 'text/event-stream': chatCompletionChunk } },
  (c, caller: Caller) => generate(c, caller, chatForm),
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

/** The last word of an assistant is continued, unless the caller wants another answer after it. */
export function chatOf({ messages, continue_final_message, add_generation_prompt }: Conversation): Chat {
  const turns = turnsOf(messages.map(turnOf))
  const ends_with_answer = turns.at(-1)!.role === 'assistant'
  if (continue_final_message && (add_generation_prompt || !ends_with_answer))
    throw new ApiError('invalid_value', {
      param: 'continue_final_message',
      message: "'continue_final_message' needs a last message of the assistant, and no 'add_generation_prompt'.",
    })
  const is_continued = continue_final_message ?? !add_generation_prompt
  return { turns, is_continued: ends_with_answer && is_continued }
}

function turnOf({ role, content }: Body['messages'][number]): Turn {
  return { role: role === 'developer' ? 'system' : role, text: content ?? '' }
}

interface Given {
  stream_options?: object | null | undefined
  messages: { role: string; content: unknown }[]
}

/** What no template writes: fields of the body, of its messages, and of the parts of their contents. */
function unusedOf(given: Given): string[] {
  const ofMessages = given.messages.flatMap(({ content, ...rest }, at) => [
    ...unusedIn({ content, ...rest }, message, `messages[${at}].`),
    ...(Array.isArray(content) ? content : []).flatMap((given, place) =>
      unusedIn(given, part, `messages[${at}].content[${place}].`),
    ),
  ])
  return [...unusedFields(given, body), ...ofMessages]
}
