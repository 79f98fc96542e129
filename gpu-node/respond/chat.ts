// The shape of OpenAI's `POST /v1/chat/completions`.

import type { FinishReason, GenerateRequest } from '../../contract/generation.ts'
import type { ChatCompletion, ChatCompletionChunk } from '../../contract/openai.ts'
import type { PublicShape } from './answer.ts'

export function chatShape(request: GenerateRequest): PublicShape {
  const head = { id: request.response_id, created: request.created_unix_s, model: request.model }
  const chunk = (
    index: number,
    delta: ChatCompletionChunk['choices'][number]['delta'],
    finish_reason: FinishReason | null = null,
  ): ChatCompletionChunk => ({
    ...head,
    object: 'chat.completion.chunk',
    choices: [{ index, delta, logprobs: null, finish_reason }],
  })
  return {
    opening: (choice) => chunk(choice, { role: 'assistant', content: '' }),
    delta: (choice, content) => chunk(choice, { content }),
    finish: (choice, reason) => chunk(choice, {}, reason),
    usage: (usage): ChatCompletionChunk => ({ ...head, object: 'chat.completion.chunk', choices: [], usage }),
    whole: (choices, usage): ChatCompletion => ({
      ...head,
      object: 'chat.completion',
      choices: choices.map(({ text, finish_reason }, index) => ({
        index,
        message: { role: 'assistant', content: text, refusal: null },
        logprobs: null,
        finish_reason,
      })),
      usage,
    }),
  }
}
