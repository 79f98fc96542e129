// /admin/seller: who sells, as it is printed on invoices. /admin/accounts/{id}/buyer: who buys with an account, and the tax that is in what
// it is charged. What is printed on an invoice stays as it was when the month ended.

import * as z from 'zod'
import * as shown from '../../../contract/public/tax.ts'
import { text } from '../../../contract/public/text.ts'
import type { Operator } from '../../auth/authenticate.ts'
import { obtain } from '../../db/ask.ts'
import { endpoint } from '../../endpoint.ts'
import { pathId } from '../../field/id.ts'
import { name } from '../../field/name.ts'
import { readBody } from '../../field/read-body.ts'

const address = text.min(1).max(500)
const country = z.string().regex(/^[A-Z]{2}$/, 'expected a country as two capital letters')
const tax_id = text.min(1).max(50)
const sellerChange = z.strictObject({ name, address, country, tax_id: tax_id.nullable() }).partial()
const buyerChange = z
  .strictObject({
    name: name.nullable(),
    address: address.nullable(),
    country: country.nullable(),
    tax_id: tax_id.nullable(),
    tax_name: text.min(1).max(50),
    tax_rate_ppm: z.int().min(0).max(1_000_000),
    is_reverse_charge: z.boolean(),
  })
  .partial()

export const retrieveSeller = endpoint(
  { says: 'Shows who sells.', answer: shown.sellerData },
  async (c, operator: Operator) => {
    const { seller } = await obtain(c.env, 'read_seller', operator, 'allowed')
    return c.json({ object: 'seller', seller })
  },
)

export const updateSeller = endpoint(
  { says: 'Changes who sells, on the invoices from now on.', body: sellerChange, answer: shown.sellerData },
  async (c, operator: Operator) => {
    const item = { ...operator, fields: await readBody(c, sellerChange) }
    const { seller } = await obtain(c.env, 'set_seller', item, 'allowed')
    return c.json({ object: 'seller', seller })
  },
)

export const retrieveBuyer = endpoint(
  { says: 'Shows who buys with an account, and the tax in what it is charged.', answer: shown.buyerData },
  async (c, operator: Operator) => {
    const { buyer } = await obtain(c.env, 'read_buyer_data', { ...operator, account_id: pathId(c) }, 'allowed')
    return c.json(publicBuyer(buyer))
  },
)

export const updateBuyer = endpoint(
  {
    says: 'Changes who buys with an account, on its invoices from now on.',
    body: buyerChange,
    answer: shown.buyerData,
  },
  async (c, operator: Operator) => {
    const item = { ...operator, account_id: pathId(c), fields: await readBody(c, buyerChange) }
    const { buyer } = await obtain(c.env, 'update_buyer_data', item, 'allowed')
    return c.json(publicBuyer(buyer))
  },
)

function publicBuyer(buyer: Omit<shown.BuyerData, 'object'>): shown.BuyerData {
  return { object: 'buyer', ...buyer }
}
