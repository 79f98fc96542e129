// What anybody may know of the gateway's state.

import * as z from 'zod'
import { count } from './scalar.ts'

export const health = z.strictObject({
  status: z.literal('ok'),
  database: z.literal('ok'),
  nodes: z.record(z.string(), count), // by model
})

export const ledgerHealth = z.strictObject({
  status: z.enum(['ok', 'drift']),
  failing: z.array(z.string()), // the names of the checks that do not hold
  checked_s_ago: z.number().nullable(), // null where no pass was completed yet
})
