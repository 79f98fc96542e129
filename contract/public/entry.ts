// A line of an account's ledger. Its kind says whether it is a credit or a debit; its amount has no sign, its effect has.

import * as z from 'zod'
import { id, moment, nanousd, uuid } from './scalar.ts'

export const entryKind = z.enum([
  'top_up',
  'grant',
  'refund',
  'adjustment_credit',
  'usage',
  'late_usage',
  'adjustment_debit',
  'adjustment_late_debit',
  'grant_expiry',
])

/** A line as a receipt names it. */
export const entryLine = z.strictObject({
  id,
  sequence: z.int().min(1), // 1, 2, 3 … in its account: a missing line shows
  kind: entryKind,
  amount_nanousd: nanousd,
  effect_nanousd: nanousd, // the same, with the sign of what it did to the balance
})

/** A line of an account's statement. */
export const entry = z.strictObject({
  object: z.literal('entry'),
  ...entryLine.shape,
  account_id: id,
  reference: z.string().nullable(), // the outside's name for it: of a payment, or given by an operator
  request_id: uuid.nullable(),
  created_at: moment,
})

/** What an operator booked: the fields that were asked for, and the entry that came of them. */
export const bookedEntry = z.strictObject({
  object: z.literal('entry'),
  id,
  account_id: id,
  kind: entryKind,
  amount_nanousd: nanousd,
  reference: z.string(),
  note: z.string().nullable(),
  expires_at: z.string().exactOptional(), // of a grant
  request_id: uuid.exactOptional(), // of a refund
  direction: z.enum(['credit', 'debit']).exactOptional(), // of an adjustment
  may_overdraw: z.boolean().exactOptional(),
  invoice_id: z.string().exactOptional(), // that it corrects
})

export const topUp = z.strictObject({
  object: z.literal('top_up'),
  id,
  account_id: id,
  amount_nanousd: nanousd,
  reference: z.string(),
})

export type EntryKind = z.infer<typeof entryKind>
export type Entry = z.infer<typeof entry>
