// Whether the ledger adds up, and what should not have happened.

import * as z from 'zod'
import { reconciliation } from '../../../contract/public/reconciliation.ts'
import { count } from '../../../contract/public/scalar.ts'

export const reconcile = {
  item: z.strictObject({
    after: z.string(), // where the last step ended; '0' begins a pass
    entries_max: count,
    anew: z.boolean(), // forgets the checkpoints first
  }),
  answer: z.strictObject({ decision: z.literal('allowed'), after: z.string().nullable() }),
}

export const ledger_health = {
  item: z.strictObject({ findings: z.boolean() }),
  answer: z.strictObject({
    decision: z.literal('allowed'),
    ...reconciliation.omit({ object: true, status: true }).shape,
  }),
}
