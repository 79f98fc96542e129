// The shapes of vLLM's `POST /v1/score` and `/v1/rerank`. An answer's value comes as the log-probability that stands in its place.

import assert from 'node:assert/strict'
import type { GenerateRequest } from '../../contract/internal/generation.ts'
import type { Usage } from '../../contract/public/openai.ts'
import type { RerankBody, ScoreBody } from '../../contract/public/score.ts'
import { headOf, openAiFrames } from './openai-shape.ts'
import type { PublicShape, ToldOfRun, WholeChoice } from './public-shape.ts'

/** None of them is ever streamed. */
const unstreamed: Omit<PublicShape, 'whole'> = {
  ...openAiFrames,
  opening: () => [],
  delta: () => [],
  finish: () => [],
  end: () => [],
}

export function scoreShape(request: GenerateRequest, _: () => Usage, run: ToldOfRun): PublicShape {
  const whole = (choices: WholeChoice[], usage: Usage): ScoreBody => ({
    ...headOf(request, run),
    object: 'list',
    data: choices.map((choice, index) => ({ index, object: 'score', score: scoreOf(choice) })),
    usage,
  })
  return { ...unstreamed, whole }
}

export function rerankShape(request: GenerateRequest, _: () => Usage, run: ToldOfRun): PublicShape {
  const { top_n, texts } = request.ranked!
  const whole = (choices: WholeChoice[], usage: Usage): RerankBody => ({
    ...headOf(request, run),
    results: choices
      .map((choice, index) => ({ index, document: { text: texts[index]! }, relevance_score: scoreOf(choice) }))
      .sort((a, b) => b.relevance_score - a.relevance_score)
      .slice(0, top_n),
    usage,
  })
  return { ...unstreamed, whole }
}

function scoreOf({ logprobs }: WholeChoice): number {
  const value = logprobs?.[0]?.logprob
  assert(value != null, 'each choice of a model that judges has its value')
  return value
}
