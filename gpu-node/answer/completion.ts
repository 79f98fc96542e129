// The shape of OpenAI's `POST /v1/completions`.

import type { GenerateRequest } from '../../contract/internal/generation.ts'
import type { CompletionBody, CompletionLogprobs, Usage } from '../../contract/public/openai.ts'
import type { Candidate } from '../run/runner.ts'
import { chunkUsage, headOf, openAiFrames } from './openai-shape.ts'
import type { Piece, PublicShape } from './public-shape.ts'

export function completionShape(request: GenerateRequest, usage: () => Usage): PublicShape {
  const body = (choices: CompletionBody['choices']): CompletionBody => ({
    ...headOf(request),
    object: 'text_completion',
    choices,
  })
  const chunk = (choice: CompletionBody['choices'][number]) => ({ ...body([choice]), ...chunkUsage(request, usage) })
  return {
    ...openAiFrames,
    opening: () => [],
    delta: (index, { text, logprobs }) => [
      chunk({ index, text, logprobs: completionLogprobs(logprobs), finish_reason: null }),
    ],
    finish: (index, { reason }) => [chunk({ index, text: '', logprobs: null, finish_reason: reason })],
    end: (usage) => (request.include_usage ? [{ ...body([]), usage }] : []),
    whole: (choices, usage) => ({
      ...body(
        choices.map((choice, index) => ({
          index,
          text: choice.text,
          logprobs: completionLogprobs(choice.logprobs),
          finish_reason: choice.finish.reason,
        })),
      ),
      usage,
    }),
  }
}

function completionLogprobs(tokens: Piece['logprobs']): CompletionLogprobs | null {
  if (tokens === null) return null
  return {
    tokens: tokens.map(spelling),
    token_logprobs: tokens.map(({ logprob }) => logprob),
    // The drawn token is listed whether or not it is among the likeliest.
    top_logprobs: tokens.map((token) => byText([...token.top, token])),
    text_offset: tokens.map(({ offset }) => offset),
  }
}

// Two tokens may have one text, a piece and a byte: the likelier one is shown.
function byText(candidates: Candidate[]): Record<string, number> {
  const likeliest_last = candidates.toSorted((a, b) => a.logprob - b.logprob)
  return Object.fromEntries(likeliest_last.map((candidate) => [spelling(candidate), candidate.logprob]))
}

// A token that is a part of a code point is written as OpenAI does.
function spelling({ text, bytes }: Candidate): string {
  const is_byte = bytes?.length === 1 && text.startsWith('\\x')
  return is_byte ? `bytes:${text}` : text
}
