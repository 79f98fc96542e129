// What anybody may know of the gateway's state.

import * as z from 'zod'
import { ledgerStatus } from './reconciliation.ts'
import { count } from './scalar.ts'

/** That it runs: what would start it again need know no more. */
export const liveness = z.strictObject({ status: z.literal('ok') })

/** Whether it can do its work: what sends requests to it has to know. */
export const health = z.strictObject({
  status: z.enum(['ok', 'unavailable']),
  database: z.enum(['ok', 'unavailable']),
  nodes: z.record(z.string(), count), // by model; empty where the database does not say
})

export const ledgerHealth = z.strictObject({
  status: ledgerStatus,
  failing: z.array(z.string()), // the names of the checks that do not hold
  checked_s_ago: z.number().nullable(), // null where no pass was completed yet
})
