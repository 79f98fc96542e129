// The shape of OpenAI's `POST /v1/completions`.

import type { GenerateRequest } from '../../contract/generation.ts'
import type { CompletionBody } from '../../contract/openai.ts'
import type { PublicShape } from './answer.ts'

export function completionShape(request: GenerateRequest): PublicShape {
  const body = (choices: CompletionBody['choices']): CompletionBody => ({
    id: request.response_id,
    object: 'text_completion',
    created: request.created_unix_s,
    model: request.model,
    choices,
  })
  return {
    opening: () => null,
    delta: (index, text) => body([{ index, text, logprobs: null, finish_reason: null }]),
    finish: (index, finish_reason) => body([{ index, text: '', logprobs: null, finish_reason }]),
    usage: (usage) => ({ ...body([]), usage }),
    whole: (choices, usage) => ({
      ...body(
        choices.map((choice, index) => ({
          index,
          text: choice.text,
          logprobs: null,
          finish_reason: choice.finish_reason,
        })),
      ),
      usage,
    }),
  }
}
