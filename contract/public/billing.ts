// How an account pays, and when it is warned.

import * as z from 'zod'
import { count, id, moment, nanousd } from './scalar.ts'

export const billingMode = z.enum(['prepaid', 'postpaid'])

export const billing = z.strictObject({
  object: z.literal('billing'),
  account_id: id,
  billing_mode: billingMode,
  overdraft_nanousd: nanousd,
  left_nanousd: nanousd, // what is held for requests in flight does not count
  alert_percents: z.array(count),
  alert_amounts_nanousd: z.array(nanousd),
  stripe_customer_id: z.string().nullable(),
  invoiced_until: moment,
})

export type Billing = z.infer<typeof billing>
