// A model that is served, and what it costs the account that asks.

import * as z from 'zod'
import { catalogModel } from './catalog.ts'
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
  alias_of: z.string().exactOptional(), // the model that is asked, and charged, by this name
  ...catalogModel.pick({ fallbacks: true, judges: true, licence: true, humaneval: true, unserved: true }).shape,
})

export type Model = z.infer<typeof model>
