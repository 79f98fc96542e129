// The parties of an invoice or a credit note, and the tax in its amounts.

import * as z from 'zod'
import { id, nanousd } from './scalar.ts'

/** As it is printed. */
export const party = z.strictObject({
  name: z.string(),
  address: z.string().nullable(),
  country: z.string().nullable(), // ISO 3166, two letters
  tax_id: z.string().nullable(),
})

export const seller = party.extend({ address: z.string(), country: z.string() })

/** What is taxed, and the tax that is in it. */
export const taxLine = z.strictObject({
  name: z.string(),
  rate_ppm: z.int().min(0), // 19 % is 190000
  gross_nanousd: nanousd,
  net_nanousd: nanousd,
  tax_nanousd: nanousd,
  note: z.string().nullable(),
})

/** The seller of this deployment; null before there is one. */
export const sellerData = z.strictObject({ object: z.literal('seller'), seller: seller.nullable() })

/** Who buys with an account, and the tax in what it is charged. Null: its own name, or nothing known. */
export const buyerData = z.strictObject({
  object: z.literal('buyer'),
  account_id: id,
  name: z.string().nullable(),
  address: z.string().nullable(),
  country: z.string().nullable(),
  tax_id: z.string().nullable(),
  tax_name: z.string(),
  tax_rate_ppm: z.int().min(0),
  is_reverse_charge: z.boolean(),
})

export type Party = z.infer<typeof party>
export type TaxLine = z.infer<typeof taxLine>
export type BuyerData = z.infer<typeof buyerData>
