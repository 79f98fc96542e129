// What a key may ask about a model beside generations.

import * as z from 'zod'
import * as shown from '../../../contract/public/price.ts'
import { admit } from './admission.ts'
import { caller, keyRefusals } from './asker.ts'

const [admitted] = admit.answer.options

export const find_nodes = {
  item: z.strictObject({ ...caller, model: z.string(), alias: z.string().optional() }),
  answer: z.discriminatedUnion('decision', [
    z.strictObject({
      decision: z.literal('found'),
      nodes: admitted.shape.nodes,
      base: z.string().nullable(), // of an adapter
    }),
    z.strictObject({ decision: z.enum([...keyRefusals, 'model_not_allowed', 'model_not_found']) }),
  ]),
}

/** What admit would answer, and the price it would be by. */
export const estimate = {
  item: admit.item.omit({ idempotency: true, results_by_id: true, resumes: true, is_begun: true }),
  answer: z.strictObject({
    decision: z.literal('estimated'),
    verdict: admit.answer,
    price: shown.price.omit({ object: true }).nullable(),
  }),
}
