// The shape of OpenAI's `POST /v1/chat/completions`.

import type { GenerateRequest } from '../../contract/internal/generation.ts'
import type {
  ChatCompletion,
  ChatCompletionChunk,
  ChatFinishReason,
  ChatLogprobs,
  ChatTopLogprob,
  Usage,
} from '../../contract/public/openai.ts'
import type { Candidate } from '../run/runner.ts'
import { chunkUsage, headOf, openAiFrames } from './openai-shape.ts'
import { callId, type Finish, type Piece, type PublicShape } from './public-shape.ts'

export function chatShape(request: GenerateRequest, usage: () => Usage): PublicShape {
  const head = headOf(request)
  const chunk = (
    index: number,
    delta: ChatCompletionChunk['choices'][number]['delta'],
    { logprobs, finish_reason }: { logprobs?: Piece['logprobs']; finish_reason?: ChatFinishReason } = {},
  ): ChatCompletionChunk => ({
    ...head,
    object: 'chat.completion.chunk',
    choices: [{ index, delta, logprobs: chatLogprobs(logprobs ?? null), finish_reason: finish_reason ?? null }],
    ...chunkUsage(request, usage),
  })
  const idOf = (choice: number, call: number) => `call_${callId(request.request_id, { choice, call })}`
  const callDelta = (choice: number, { index, name, arguments: text }: NonNullable<Piece['call']>) =>
    name === undefined
      ? { index, function: { arguments: text } }
      : { index, id: idOf(choice, index), type: 'function' as const, function: { name, arguments: text } }
  return {
    ...openAiFrames,
    opening: (choice) => [chunk(choice, { role: 'assistant', content: '' })],
    delta: (choice, { text, logprobs, call }) => [
      chunk(choice, call ? { tool_calls: [callDelta(choice, call)] } : { content: text }, { logprobs }),
    ],
    finish: (choice, finish) => [chunk(choice, {}, { finish_reason: finishReason(finish) })],
    end: (usage): ChatCompletionChunk[] =>
      request.include_usage ? [{ ...head, object: 'chat.completion.chunk', choices: [], usage }] : [],
    whole: (choices, usage): ChatCompletion => ({
      ...head,
      object: 'chat.completion',
      choices: choices.map(({ text, logprobs, finish, calls }, index) => ({
        index,
        message: {
          role: 'assistant',
          content: text === '' && calls.length > 0 ? null : text,
          refusal: null,
          ...(calls.length > 0 && {
            tool_calls: calls.map((call, i) => ({ id: idOf(index, i), type: 'function' as const, function: call })),
          }),
        },
        logprobs: chatLogprobs(logprobs),
        finish_reason: finishReason(finish),
      })),
      usage,
    }),
  }
}

function finishReason({ reason, has_called }: Finish): ChatFinishReason {
  return has_called ? 'tool_calls' : reason
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
