// What reconciling the ledger found: whether everything adds up, and whether anybody has looked.

import * as z from 'zod'
import { count, id, nanousd } from './scalar.ts'

export const ledgerCheck = z.enum([
  'sequence',
  'credited',
  'debited',
  'late',
  'charges',
  'days',
  'refunds',
  'grants',
  'pending',
  'usage',
])

export const finding = z.strictObject({
  check: ledgerCheck,
  account_id: id.nullable(),
  drift_nanousd: nanousd, // how far the two sides are apart
  detail: z.record(z.string(), z.unknown()),
})

/** `unchecked` where no pass was completed within ten minutes, and what is known does agree. */
export const ledgerStatus = z.enum(['ok', 'drift', 'unchecked'])

export const reconciliation = z.strictObject({
  object: z.literal('reconciliation'),
  status: ledgerStatus,
  checks: z.record(ledgerCheck, z.strictObject({ findings: count, drift_nanousd: nanousd })),
  checked_s_ago: z.number().nullable(), // null where no pass was completed yet
  unchecked_s: z.number(), // the same, or since everything was to be read where no pass was completed yet
  unread_entries: count,
  journals_behind: count, // of nodes that were told of settlements this database does not have, and have not told them all again
  pending_count: count,
  pending_s_max: z.number(),
  anomalies: z.record(z.string(), count),
  findings: z.array(finding).nullable(), // null where they were not asked for
})

export type Reconciliation = z.infer<typeof reconciliation>
