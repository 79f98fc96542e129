// The shape of OpenAI's `POST /v1/chat/completions`.

import type { FinishReason, GenerateRequest } from '../../contract/internal/generation.ts'
import type { ChatCompletion, ChatCompletionChunk, ChatLogprobs, ChatTopLogprob } from '../../contract/public/openai.ts'
import type { Candidate } from '../run/runner.ts'
import { nullUsage, openAiFrames } from './openai-shape.ts'
import type { Piece, PublicShape } from './public-shape.ts'

export function chatShape(request: GenerateRequest): PublicShape {
  const head = { id: request.response_id, created: request.created_unix_s, model: request.model }
  const chunk = (
    index: number,
    delta: ChatCompletionChunk['choices'][number]['delta'],
    { logprobs, finish_reason }: { logprobs?: Piece['logprobs']; finish_reason?: FinishReason } = {},
  ): ChatCompletionChunk => ({
    ...head,
    object: 'chat.completion.chunk',
    choices: [{ index, delta, logprobs: chatLogprobs(logprobs ?? null), finish_reason: finish_reason ?? null }],
    ...nullUsage(request),
  })
  return {
    ...openAiFrames,
    opening: (choice) => [chunk(choice, { role: 'assistant', content: '' })],
    delta: (choice, { text, logprobs }) => chunk(choice, { content: text }, { logprobs }),
    finish: (choice, { reason }) => chunk(choice, {}, { finish_reason: reason }),
    end: (usage): ChatCompletionChunk[] =>
      request.include_usage ? [{ ...head, object: 'chat.completion.chunk', choices: [], usage }] : [],
    whole: (choices, usage): ChatCompletion => ({
      ...head,
      object: 'chat.completion',
      choices: choices.map(({ text, logprobs, finish }, index) => ({
        index,
        message: { role: 'assistant', content: text, refusal: null },
        logprobs: chatLogprobs(logprobs),
        finish_reason: finish.reason,
      })),
      usage,
    }),
  }
}

function chatLogprobs(tokens: Piece['logprobs']): ChatLogprobs | null {
  if (tokens === null) return null
  return {
    content: tokens.map((token) => ({ ...candidate(token), top_logprobs: token.top.map(candidate) })),
    refusal: null,
  }
}

function candidate({ text, bytes, logprob }: Candidate): ChatTopLogprob {
  return { token: text, logprob, bytes }
}
