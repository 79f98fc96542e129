// POST /v1/score and /v1/rerank, in vLLM's form: what a model that judges answers thinks of them. Each pair is a prompt that is computed and
// nothing is drawn from; how it is written the model's node knows.

import * as z from 'zod'
import type { GenerateRequest, JudgedPart } from '../../../contract/internal/generation.ts'
import { rerank as ranking, score as scores } from '../../../contract/public/score.ts'
import { text } from '../../../contract/public/text.ts'
import type { Caller } from '../../auth/authenticate.ts'
import { endpoint } from '../../endpoint.ts'
import { ApiError } from '../../error.ts'
import { generationFields } from '../../field/generation.ts'
import { askingNothing, unusedIn } from '../../field/unused.ts'
import { type GenerationBody, type GenerationForm, generate } from '../../generate/generate.ts'
import { generateRequest } from '../../generate/generate-request.ts'

const { model, user, metadata, deadline_ms } = generationFields
const common = { model, user, metadata, deadline_ms }
const texts = z.array(text).min(1).max(128)
const oneOrSeveral = z.union([text, texts])

const scoreBody = z.object({ ...common, text_1: oneOrSeveral, text_2: oneOrSeveral }).catchall(askingNothing())

const rerankBody = z
  .object({
    ...common,
    query: text,
    documents: texts,
    top_n: z.int().min(1).nullish(), // all of them where there is none
  })
  .catchall(askingNothing())

type Asked = Pick<GenerateRequest, 'shape' | 'ranked'> & { pairs: JudgedPart['judged'][] }

function formOf<B extends GenerationBody>(
  schema: z.ZodType<B> & z.ZodObject,
  asked: (body: B) => Asked,
): GenerationForm<B> {
  return {
    schema,
    format(body, own) {
      const { pairs, ...rest } = asked(body)
      const prompts = pairs.map((judged) => [{ judged }])
      return generateRequest({ model: body.model, max_tokens: 0 }, { ...own, ...rest, prompts, logprobs: 0 })
    },
    unused: (given) => unusedIn(given as object, schema),
  }
}

const scoreForm = formOf(scoreBody, (body) => ({ shape: 'score', pairs: pairsOf(body) }))

const rerankForm = formOf(rerankBody, ({ query, documents, top_n }) => ({
  shape: 'rerank',
  pairs: documents.map((answer) => ({ query, answer })),
  ranked: { top_n: top_n ?? documents.length, texts: documents },
}))

export const score = endpoint(
  { says: 'Judges answers, each to a text.', body: scoreBody, answer: scores },
  (c, caller: Caller) => generate(c, caller, scoreForm),
)

export const rerank = endpoint(
  { says: 'Judges answers to one text, the best first.', body: rerankBody, answer: ranking },
  (c, caller: Caller) => generate(c, caller, rerankForm),
)

/** One text with each of several, or as many of both. */
function pairsOf({ text_1, text_2 }: z.infer<typeof scoreBody>): JudgedPart['judged'][] {
  const answers = [text_2].flat()
  if (typeof text_1 === 'string') return answers.map((answer) => ({ query: text_1, answer }))
  if (text_1.length !== answers.length)
    throw new ApiError('invalid_value', { param: 'text_2', message: "'text_1' and 'text_2' differ in length." })
  return text_1.map((query, i) => ({ query, answer: answers[i]! }))
}
