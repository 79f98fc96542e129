// What an account has, holds for requests in flight, and may still spend.

import * as z from 'zod'
import { id, nanousd } from './scalar.ts'

export const balance = z.strictObject({
  object: z.literal('balance'),
  account_id: id,
  credited_nanousd: nanousd,
  debited_nanousd: nanousd,
  pending_nanousd: nanousd,
  overdraft_nanousd: nanousd,
  balance_nanousd: nanousd,
  available_nanousd: nanousd,
})

export type Balance = z.infer<typeof balance>
