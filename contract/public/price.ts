// What a model costs, from a moment on: for everybody, or as it was agreed with one account.

import * as z from 'zod'
import { id, moment, nanousd } from './scalar.ts'

/** At once, or when nobody who does not wait is there. */
export const serviceTier = z.enum(['default', 'flex'])

export const price = z.strictObject({
  object: z.literal('price'),
  model: z.string(),
  version: z.int().min(1),
  account_id: id.nullable(), // null: the list price
  service_tier: serviceTier,
  input_nanousd_per_token: nanousd,
  cached_input_nanousd_per_token: nanousd,
  output_nanousd_per_token: nanousd,
  valid_from: moment,
  valid_until: moment.nullable(), // null: until the next
})

export type Price = z.infer<typeof price>
