// The invoice of a month: what was booked in it, between an opening and a closing balance.

import * as z from 'zod'
import { billingMode } from './billing.ts'
import { entryKind } from './entry.ts'
import { id, longCount, moment, nanousd } from './scalar.ts'
import { party, seller, taxLine } from './tax.ts'

/** inv_12_3: the third of account 12. */
export const invoiceId = z.string().regex(/^inv_[1-9]\d*_[1-9]\d*$/)

/** An invoice as it stands in a list. */
export const invoiceSummary = z.strictObject({
  object: z.literal('invoice'),
  id: invoiceId,
  account_id: id,
  number: z.int().min(1),
  month: z.string().regex(/^\d{4}-\d{2}$/),
  billing_mode: billingMode,
  opening_nanousd: nanousd,
  closing_nanousd: nanousd,
  due_nanousd: nanousd,
  closed_at: moment,
})

/** The entries of one kind, and of usage at one price. Credits count up, debits down. */
export const invoiceLine = z.strictObject({
  kind: entryKind,
  model: z.string().nullable(),
  price_version: z.int().min(1).nullable(),
  input_nanousd_per_token: nanousd.nullable(),
  cached_input_nanousd_per_token: nanousd.nullable(),
  output_nanousd_per_token: nanousd.nullable(),
  count: longCount,
  prompt_tokens: longCount,
  cached_tokens: longCount,
  completion_tokens: longCount,
  amount_nanousd: nanousd,
})

export const invoice = invoiceSummary.extend({
  account_name: z.string(), // the buyer's
  // As they were when the month ended.
  seller: seller.nullable(),
  buyer: party,
  tax_lines: z.array(taxLine), // the tax is in the amounts
  after_sequence: longCount, // the entries after this one, up to the last, belong to it
  last_sequence: longCount,
  lines: z.array(invoiceLine),
})

export type InvoiceSummary = z.infer<typeof invoiceSummary>
export type InvoiceLine = z.infer<typeof invoiceLine>
export type Invoice = z.infer<typeof invoice>
