// The limits that an account and a key may each have. Null: it has none of its own.

import * as z from 'zod'
import { count, nanousd } from './scalar.ts'

export const limits = z.strictObject({
  requests_per_minute: count.nullable(),
  tokens_per_minute: count.nullable(),
  requests_in_flight_max: count.nullable(),
  monthly_spend_cap_nanousd: nanousd.nullable(),
})

/** What of them is used now: by the account with all of its keys, or by the keys that share a meter. */
export const limitsInUse = z.strictObject({
  requests_in_flight: count,
  charged_this_month_nanousd: nanousd,
})
