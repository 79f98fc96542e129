// What a model that judges says of answers, in vLLM's form. A node writes it.

import * as z from 'zod'
import { system_fingerprint, tokenUsage } from './openai.ts'
import { count } from './scalar.ts'

const head = { id: z.string(), created: count, model: z.string(), system_fingerprint, usage: tokenUsage }

export const score = z.strictObject({
  ...head,
  object: z.literal('list'),
  data: z.array(z.strictObject({ index: count, object: z.literal('score'), score: z.number() })),
})

/** The best first; `index` is a document's place in the request. */
export const rerank = z.strictObject({
  ...head,
  results: z.array(
    z.strictObject({
      index: count,
      document: z.strictObject({ text: z.string() }).exactOptional(),
      relevance_score: z.number(),
    }),
  ),
})

export type ScoreBody = z.infer<typeof score>
export type RerankBody = z.infer<typeof rerank>
