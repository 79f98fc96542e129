// What is told of tokens and of costs before anything is generated. The first two have vLLM's form.

import * as z from 'zod'
import { model } from './model.ts'
import { serviceTier } from './price.ts'
import { count, nanousd } from './scalar.ts'

export const tokenization = z.strictObject({
  count,
  max_model_len: count,
  tokens: z.array(count),
  token_strs: z.array(z.string()).nullable(), // each as the vocabulary spells it, where that was asked for
})

export const detokenization = z.strictObject({ prompt: z.string() })

export const estimate = z.strictObject({
  object: z.literal('estimate'),
  model: z.string(),
  prompt_tokens: count.nullable(), // null where no node can count now
  prompt_tokens_max: count, // what is held for
  completion_tokens_max: count, // over all choices
  service_tier: serviceTier,
  pricing: model.shape.pricing, // of this tier
  cost_nanousd_max: nanousd.nullable(), // with the counted prompt and the longest answers; null without a count or a price
  held_nanousd: nanousd.nullable(), // while it runs
  admitted: z.boolean(), // whether it would run if it were asked now
  refusal: z.strictObject({ code: z.string(), message: z.string() }).nullable(),
  wait_s: z.number().min(0).nullable(), // after so long what waits now is likely to be done
})

export type Tokenization = z.infer<typeof tokenization>
export type Estimate = z.infer<typeof estimate>
