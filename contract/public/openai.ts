// Completions and chat completions, as OpenAI's clients read them. A node writes them.

import * as z from 'zod'
import { serviceTier } from './price.ts'
import { count, uuid } from './scalar.ts'

export const tokenUsage = z.strictObject({
  prompt_tokens: count,
  completion_tokens: count,
  total_tokens: count,
  prompt_tokens_details: z.strictObject({ cached_tokens: count }),
  // Where the caller gave a prediction: how much of it came true.
  completion_tokens_details: z
    .strictObject({ accepted_prediction_tokens: count, rejected_prediction_tokens: count })
    .exactOptional(),
})

const finishReason = z.enum(['stop', 'length'])

/** One entry a token in each list. A token's offset counts code points of the choice's text. The first token of a prompt has no others. */
export const completionLogprobs = z.strictObject({
  tokens: z.array(z.string()),
  token_logprobs: z.array(z.number().nullable()),
  top_logprobs: z.array(z.record(z.string(), z.number()).nullable()),
  text_offset: z.array(count),
})

export const chatTopLogprob = z.strictObject({
  token: z.string(),
  logprob: z.number(),
  bytes: z.array(count).nullable(), // null where the token has no text
})

export const chatLogprobs = z.strictObject({
  content: z.array(chatTopLogprob.extend({ top_logprobs: z.array(chatTopLogprob) })),
  refusal: z.null(),
})

const created = count // Unix seconds
/** Names what can change the bytes of an answer: weights, machine code, and the instruction set or GPU. */
export const system_fingerprint = z.string().exactOptional()

const service_tier = serviceTier.exactOptional() // told where the request says one

/** What became of the candidates of an answer that was to be verified. */
export const verification = z.strictObject({
  language: z.string(),
  passed: z.boolean(), // that what is answered passes the tests
  chosen: count.nullable(), // which of the candidates it is; null where none was generated to its end
  attempts: count,
  candidates: z.array(
    z.strictObject({
      attempt: count,
      index: count, // in its attempt
      passed: z.boolean().nullable(), // null where it was stopped before its verdict
      failure: z.string().nullable(), // the test that failed, in a line
      completion_tokens: count,
    }),
  ),
})

const verified = verification.exactOptional() // in a stream with the chunk that ends the choice

/** With `return_token_ids`: a stream has those of a prompt in a choice's first chunk, those of an answer as they come. */
const token_ids = z.array(count).exactOptional()

const chatFinishReason = z.enum(['stop', 'length', 'tool_calls'])

const toolCall = z.strictObject({
  id: z.string(),
  type: z.literal('function'),
  function: z.strictObject({ name: z.string(), arguments: z.string() }),
})

/** A call's first has its id and name, each further one a part of its arguments. */
const toolCallDelta = z.strictObject({
  index: count,
  id: z.string().exactOptional(),
  type: z.literal('function').exactOptional(),
  function: z.strictObject({ name: z.string().exactOptional(), arguments: z.string() }),
})

export const completion = z.strictObject({
  id: z.string(),
  object: z.literal('text_completion'),
  created,
  model: z.string(),
  system_fingerprint,
  service_tier,
  choices: z.array(
    z.strictObject({
      index: count,
      text: z.string(),
      logprobs: completionLogprobs.nullable(),
      finish_reason: finishReason.nullable(),
      token_ids,
      prompt_token_ids: token_ids,
    }),
  ),
  verification: verified,
  // It is null on the chunks of a stream that asked for usage, and absent on one that did not.
  usage: tokenUsage.nullable().exactOptional(),
})

export const chatCompletion = z.strictObject({
  id: z.string(),
  object: z.literal('chat.completion'),
  created,
  model: z.string(),
  system_fingerprint,
  service_tier,
  choices: z.array(
    z.strictObject({
      index: count,
      message: z.strictObject({
        role: z.literal('assistant'),
        content: z.string().nullable(), // null where there are calls alone
        refusal: z.null(),
        tool_calls: z.array(toolCall).exactOptional(),
      }),
      logprobs: chatLogprobs.nullable(),
      finish_reason: chatFinishReason,
      token_ids,
    }),
  ),
  verification: verified,
  usage: tokenUsage,
  prompt_token_ids: token_ids,
  // Of one with `best_of`: who chose its choices, by a request that is billed by itself. Null where nobody could: they are the first then.
  ranked_by: z
    .strictObject({
      model: z.string(),
      request_id: uuid,
      prompt_tokens: count,
      scores: z.array(z.number()), // of all that were asked for, the best first
    })
    .nullable()
    .exactOptional(),
})

const metadata = z.record(z.string(), z.string())

/** One that is stored. */
export const storedChat = chatCompletion.extend({ metadata })

const listed = {
  object: z.literal('list'),
  first_id: z.string().nullable(),
  last_id: z.string().nullable(),
  has_more: z.boolean(),
}

export const storedChats = z.strictObject({ ...listed, data: z.array(storedChat) })

const storedMessage = z.strictObject({
  id: z.string(),
  role: z.enum(['system', 'developer', 'user', 'assistant', 'tool']),
  content: z.string().nullable(),
  content_parts: z.array(z.strictObject({ type: z.literal('text'), text: z.string() })).nullable(),
  refusal: z.null(),
  tool_calls: z.array(z.unknown()).exactOptional(), // as they were given
  tool_call_id: z.string().exactOptional(),
  name: z.string().exactOptional(),
})

export const storedChatMessages = z.strictObject({ ...listed, data: z.array(storedMessage) })

export const storedChatDeleted = z.strictObject({
  object: z.literal('chat.completion.deleted'),
  id: z.string(),
  deleted: z.literal(true),
})

export type StoredMessage = z.infer<typeof storedMessage>

export const chatCompletionChunk = z.strictObject({
  id: z.string(),
  object: z.literal('chat.completion.chunk'),
  created,
  model: z.string(),
  system_fingerprint,
  service_tier,
  choices: z.array(
    z.strictObject({
      index: count,
      delta: z.strictObject({
        role: z.literal('assistant').exactOptional(),
        content: z.string().exactOptional(),
        tool_calls: z.array(toolCallDelta).exactOptional(),
      }),
      logprobs: chatLogprobs.nullable(),
      finish_reason: chatFinishReason.nullable(),
      token_ids,
    }),
  ),
  verification: verified,
  usage: tokenUsage.nullable().exactOptional(),
  prompt_token_ids: token_ids,
})

export type Usage = z.infer<typeof tokenUsage>
export type VerificationReport = z.infer<typeof verification>
export type CompletionLogprobs = z.infer<typeof completionLogprobs>
export type ChatFinishReason = z.infer<typeof chatFinishReason>
export type ChatTopLogprob = z.infer<typeof chatTopLogprob>
export type ChatLogprobs = z.infer<typeof chatLogprobs>
export type CompletionBody = z.infer<typeof completion>
export type ChatCompletion = z.infer<typeof chatCompletion>
export type ChatCompletionChunk = z.infer<typeof chatCompletionChunk>

export function usageOf(counts: {
  prompt: number
  cached: number
  completion: number
  prediction?: { accepted_tokens: number; rejected_tokens: number } | null
}): Usage {
  const { prediction } = counts
  return {
    prompt_tokens: counts.prompt,
    completion_tokens: counts.completion,
    total_tokens: counts.prompt + counts.completion,
    prompt_tokens_details: { cached_tokens: counts.cached },
    ...(prediction && {
      completion_tokens_details: {
        accepted_prediction_tokens: prediction.accepted_tokens,
        rejected_prediction_tokens: prediction.rejected_tokens,
      },
    }),
  }
}
