// The shape of OpenAI's `POST /v1/completions`.

import type { GenerateRequest } from '../../contract/internal/generation.ts'
import type { CompletionBody, CompletionLogprobs, Usage } from '../../contract/public/openai.ts'
import type { Candidate, TokenLogprob } from '../run/runner.ts'
import { chunkUsage, headOf, idsOf, openAiFrames, verified } from './openai-shape.ts'
import type { Piece, PublicShape, ToldOfRun } from './public-shape.ts'

type CompletionChoice = CompletionBody['choices'][number]

export function completionShape(request: GenerateRequest, usage: () => Usage, run: ToldOfRun): PublicShape {
  const body = (choices: CompletionBody['choices']): CompletionBody => ({
    ...headOf(request, run),
    object: 'text_completion',
    choices,
  })
  const chunk = (choice: CompletionChoice) => ({ ...body([choice]), ...chunkUsage(request, usage) })
  const { prompt_token_ids } = run
  const promptIds = (choice: number) =>
    prompt_token_ids ? { prompt_token_ids: [...prompt_token_ids[Math.floor(choice / request.n)]!] } : {}
  return {
    ...openAiFrames,
    opening: (index) =>
      prompt_token_ids ? [chunk({ index, text: '', logprobs: null, finish_reason: null, ...promptIds(index) })] : [],
    delta: (index, { text, logprobs, token_ids }) => [
      chunk({ index, text, logprobs: completionLogprobs(logprobs), finish_reason: null, ...idsOf(token_ids) }),
    ],
    finish: (index, { reason }) => [
      { ...chunk({ index, text: '', logprobs: null, finish_reason: reason }), ...verified(run) },
    ],
    end: (usage) => (request.include_usage ? [{ ...body([]), usage }] : []),
    whole: (choices, usage) => ({
      ...body(
        choices.map((choice, index) => ({
          index,
          text: choice.text,
          logprobs: completionLogprobs(choice.logprobs),
          finish_reason: choice.finish.reason,
          ...idsOf(choice.token_ids),
          ...promptIds(index),
        })),
      ),
      ...verified(run),
      usage,
    }),
  }
}

function completionLogprobs(tokens: Piece['logprobs']): CompletionLogprobs | null {
  if (tokens === null) return null
  return {
    tokens: tokens.map(spelling),
    token_logprobs: tokens.map(({ logprob }) => logprob),
    top_logprobs: tokens.map(topOf),
    text_offset: tokens.map(({ offset }) => offset),
  }
}

// The token itself is listed whether or not it is among the likeliest.
function topOf({ logprob, top, ...token }: TokenLogprob): Record<string, number> | null {
  return logprob === null ? null : byText([...top, { ...token, logprob }])
}

// Two tokens may have one text, a piece and a byte: the likelier one is shown.
function byText(candidates: Candidate[]): Record<string, number> {
  const likeliest_last = candidates.toSorted((a, b) => a.logprob - b.logprob)
  return Object.fromEntries(likeliest_last.map((candidate) => [spelling(candidate), candidate.logprob]))
}

// A token that is a part of a code point is written as OpenAI does.
function spelling({ text, bytes }: Pick<Candidate, 'text' | 'bytes'>): string {
  const is_byte = bytes?.length === 1 && text.startsWith('\\x')
  return is_byte ? `bytes:${text}` : text
}
