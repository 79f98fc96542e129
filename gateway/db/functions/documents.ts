// The parties of invoices, and credit notes.

import * as z from 'zod'
import * as notes from '../../../contract/public/credit-note.ts'
import { id } from '../../../contract/public/scalar.ts'
import * as tax from '../../../contract/public/tax.ts'
import { asked, keyRefusals, operator } from './asker.ts'

const buyer = tax.buyerData.omit({ object: true })

export const read_buyer_data = {
  item: z.strictObject({ ...operator, account_id: id }),
  answer: z.discriminatedUnion('decision', [
    z.strictObject({ decision: z.literal('allowed'), buyer }),
    z.strictObject({ decision: z.enum([...keyRefusals, 'not_found']), buyer: z.null() }),
  ]),
}

export const update_buyer_data = {
  item: z.strictObject({ ...operator, account_id: id, fields: buyer.omit({ account_id: true }).partial() }),
  answer: z.discriminatedUnion('decision', [
    z.strictObject({ decision: z.literal('allowed'), buyer }),
    z.strictObject({ decision: z.enum(['not_found', 'reverse_charge_needs_tax_id']) }),
  ]),
}

export const read_seller = {
  item: z.strictObject(operator),
  answer: z.strictObject({ decision: z.literal('allowed'), seller: tax.seller.nullable() }),
}

export const set_seller = {
  item: z.strictObject({ ...operator, fields: tax.seller.partial() }),
  answer: z.discriminatedUnion('decision', [
    z.strictObject({ decision: z.literal('allowed'), seller: tax.seller }),
    z.strictObject({ decision: z.literal('incomplete_seller') }),
  ]),
}

export const read_credit_note = {
  item: asked({ account_id: id, number: z.int() }, {}),
  answer: z.discriminatedUnion('decision', [
    z.strictObject({ decision: z.literal('allowed'), credit_note: notes.creditNote.omit({ object: true }) }),
    z.strictObject({ decision: z.enum([...keyRefusals, 'not_found']) }),
  ]),
}
