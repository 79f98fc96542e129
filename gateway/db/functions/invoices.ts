// Invoices: made in two steps, and read.

import * as z from 'zod'
import * as shown from '../../../contract/public/invoice.ts'
import { count, id } from '../../../contract/public/scalar.ts'
import { asked, keyRefusals } from './asker.ts'

export const cut_invoices = {
  item: z.strictObject({ count_max: count }),
  answer: z.strictObject({ decision: z.literal('cut'), count }),
}

export const sum_invoices = {
  item: z.strictObject({ entries_max: count }),
  answer: z.strictObject({ decision: z.literal('summed'), count }),
}

const refusals = z.enum([...keyRefusals, 'not_found'])

export const read_invoice = {
  item: asked({ account_id: id, number: z.int() }, {}),
  answer: z.discriminatedUnion('decision', [
    z.strictObject({ decision: z.literal('allowed'), invoice: shown.invoice.omit({ object: true }) }),
    z.strictObject({ decision: refusals }),
  ]),
}
