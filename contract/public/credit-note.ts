// A credit note: corrects an invoice that is closed, with a number of its own.

import * as z from 'zod'
import { invoiceId } from './invoice.ts'
import { id, moment, nanousd, uuid } from './scalar.ts'
import { party, seller, taxLine } from './tax.ts'

/** cn_12_3: the third of account 12. */
export const creditNoteId = z.string().regex(/^cn_[1-9]\d*_[1-9]\d*$/)

/** A credit note as it stands in a list. */
export const creditNoteSummary = z.strictObject({
  object: z.literal('credit_note'),
  id: creditNoteId,
  account_id: id,
  number: z.int().min(1),
  invoice_id: invoiceId,
  entry_id: id, // the refund, or the adjustment
  request_id: uuid.nullable(), // null for an adjustment
  model: z.string().nullable(),
  amount_nanousd: nanousd,
  created_at: moment,
})

/** Its parties and its tax are those of the invoice. */
export const creditNote = creditNoteSummary.extend({
  seller: seller.nullable(),
  buyer: party,
  tax_lines: z.array(taxLine),
})

export type CreditNoteSummary = z.infer<typeof creditNoteSummary>
export type CreditNote = z.infer<typeof creditNote>
