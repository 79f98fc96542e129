// A model that is served, and what it costs the account that asks.

import * as z from 'zod'
import { price } from './price.ts'
import { count } from './scalar.ts'

export const model = z.strictObject({
  id: z.string(),
  object: z.literal('model'),
  created: count, // Unix seconds
  owned_by: z.string(),
  root: z.string(), // the model whose weights it has
  parent: z.string().nullable(), // of an adapter: what it changes
  context_length: count,
  available: z.boolean(), // whether a node serves it now
  // It is null before a first price was published.
  pricing: price
    .pick({
      input_nanousd_per_token: true,
      cached_input_nanousd_per_token: true,
      output_nanousd_per_token: true,
      version: true,
    })
    .nullable(),
})

export type Model = z.infer<typeof model>
