// An account: who pays, and what all of its keys together may take.

import * as z from 'zod'
import { limits, limitsInUse } from './limits.ts'
import { id, moment, nanousd } from './scalar.ts'

export const account = z.strictObject({
  object: z.literal('account'),
  id,
  name: z.string(),
  created_at: moment,
  overdraft_nanousd: nanousd,
  balance_nanousd: nanousd,
  available_nanousd: nanousd, // the balance and the overdraft, less what is held
  ...limits.shape,
  ...limitsInUse.shape,
  suspended_at: moment.nullable(),
})

export type Account = z.infer<typeof account>
