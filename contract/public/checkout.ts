// A page of Stripe's on which an account buys credit.

import * as z from 'zod'
import { count, nanousd } from './scalar.ts'

export const checkoutSession = z.strictObject({
  object: z.literal('checkout_session'),
  id: z.string(), // Stripe's
  url: z.string().nullable(),
  amount_nanousd: nanousd,
  expires_unix_s: count,
})
