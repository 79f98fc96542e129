// The shape of OpenAI's `POST /v1/chat/completions`.

import type { GenerateRequest } from '../../contract/internal/generation.ts'
import type {
  ChatCompletion,
  ChatCompletionChunk,
  ChatFinishReason,
  ChatLogprobs,
  Usage,
} from '../../contract/public/openai.ts'
import { candidateOf, chunkUsage, headOf, idsOf, openAiFrames, verified } from './openai-shape.ts'
import { callId, type Finish, type Piece, type PublicShape, type ToldOfRun } from './public-shape.ts'

export function chatShape(request: GenerateRequest, usage: () => Usage, run: ToldOfRun): PublicShape {
  const head = () => headOf(request, run)
  const chunk = (
    index: number,
    delta: ChatCompletionChunk['choices'][number]['delta'],
    { logprobs, token_ids, finish_reason }: Partial<Omit<Piece, 'text'>> & { finish_reason?: ChatFinishReason } = {},
  ): ChatCompletionChunk => ({
    ...head(),
    object: 'chat.completion.chunk',
    choices: [
      {
        index,
        delta,
        logprobs: chatLogprobs(logprobs ?? null),
        finish_reason: finish_reason ?? null,
        ...idsOf(token_ids),
      },
    ],
    ...chunkUsage(request, usage),
  })
  const { prompt_token_ids } = run
  const promptIds = prompt_token_ids ? { prompt_token_ids: [...prompt_token_ids[0]!] } : {}
  const idOf = (choice: number, call: number) => `call_${callId(request.request_id, { choice, call })}`
  const callDelta = (choice: number, { index, name, arguments: text }: NonNullable<Piece['call']>) =>
    name === undefined
      ? { index, function: { arguments: text } }
      : { index, id: idOf(choice, index), type: 'function' as const, function: { name, arguments: text } }
  return {
    ...openAiFrames,
    opening: (choice) => [{ ...chunk(choice, { role: 'assistant', content: '' }), ...promptIds }],
    delta: (choice, { text, call, ...tokens }) => [
      chunk(choice, call ? { tool_calls: [callDelta(choice, call)] } : { content: text }, tokens),
    ],
    finish: (choice, finish) => [{ ...chunk(choice, {}, { finish_reason: finishReason(finish) }), ...verified(run) }],
    end: (usage): ChatCompletionChunk[] =>
      request.include_usage ? [{ ...head(), object: 'chat.completion.chunk', choices: [], usage }] : [],
    whole: (choices, usage): ChatCompletion => ({
      ...head(),
      object: 'chat.completion',
      choices: choices.map(({ text, logprobs, token_ids, finish, calls }, index) => ({
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
        ...idsOf(token_ids),
      })),
      ...verified(run),
      usage,
      ...promptIds,
    }),
  }
}

function finishReason({ reason, has_called }: Finish): ChatFinishReason {
  return has_called ? 'tool_calls' : reason
}

function chatLogprobs(tokens: Piece['logprobs']): ChatLogprobs | null {
  if (tokens === null) return null
  return {
    content: tokens.map((token) => ({ ...candidateOf(token), top_logprobs: token.top.map(candidateOf) })),
    refusal: null,
  }
}
