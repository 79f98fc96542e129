// The limits an account or a key may be given. Null, or not said: none of its own.

import * as z from 'zod'
import { nanousd } from './money.ts'

const perMinute = (max: number) => z.int().min(1).max(max).nullable()

export const limitFields = {
  requests_per_minute: perMinute(1e9).optional(),
  tokens_per_minute: perMinute(1e10).optional(), // a bucket counts in 1/60,000,000: twice this many still fit a bigint
  requests_in_flight_max: z.int().min(1).max(1e6).nullable().optional(),
  monthly_spend_cap_nanousd: nanousd.nullable().optional(),
}
