// The price book.

import * as z from 'zod'
import * as shown from '../../../contract/public/price.ts'
import { id, nanousd } from '../../../contract/public/scalar.ts'
import { caller, keyRefusals, operator } from './asker.ts'

const price = shown.price.omit({ object: true })

export const read_prices = {
  item: z.strictObject(caller),
  answer: z.discriminatedUnion('decision', [
    z.strictObject({
      decision: z.literal('allowed'),
      prices: z.record(z.string(), price),
      models: z.array(z.string()).nullable(), // that the key may use; null is all
      served: z.array(z.string()),
      adapters: z.record(z.string(), z.string()), // that the account may ask, with their bases
    }),
    z.strictObject({ decision: z.enum(keyRefusals) }),
  ]),
}

export const publish_price = {
  item: z.strictObject({
    ...z.object(operator).partial().shape,
    model: z.string(),
    account_id: id.nullable().optional(),
    service_tier: shown.serviceTier.optional(),
    input_nanousd_per_token: nanousd,
    cached_input_nanousd_per_token: nanousd.nullable().optional(),
    output_nanousd_per_token: nanousd,
    valid_from: z.string().nullable().optional(),
    valid_until: z.string().nullable().optional(),
    only_first: z.boolean().optional(), // not where the model has a price of this kind already
  }),
  answer: z.discriminatedUnion('decision', [
    z.strictObject({ decision: z.literal('published'), version: z.int().min(1), price }),
    z.strictObject({ decision: z.enum(['unknown_account', 'begins_in_the_past', 'ends_before_it_begins']) }),
  ]),
}
