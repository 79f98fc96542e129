// /admin/accounts/{id}/billing: how an account pays, and when it is warned; PATCH changes it.

import * as z from 'zod'
import { billingMode, billing as shown } from '../../../contract/public/billing.ts'
import type { Operator } from '../../auth/authenticate.ts'
import { obtain } from '../../db/ask.ts'
import { endpoint } from '../../endpoint.ts'
import { pathId } from '../../field/id.ts'
import { nanousd } from '../../field/money.ts'
import { readBody } from '../../field/read-body.ts'
import { publicBilling } from '../billing.ts'

const ALERTS_MAX = 10

const change = z
  .strictObject({
    billing_mode: billingMode,
    alert_percents: z.array(z.int().min(0).max(99)).max(ALERTS_MAX),
    alert_amounts_nanousd: z.array(nanousd).max(ALERTS_MAX),
    stripe_customer_id: z
      .string()
      .regex(/^cus_[A-Za-z0-9]{1,100}$/, 'expected an id of a customer at Stripe')
      .nullable(),
  })
  .partial()

export const retrieveBilling = endpoint(
  { says: 'Shows how an account pays, and when it is warned.', answer: shown },
  async (c, operator: Operator) => {
    const { billing } = await obtain(c.env, 'read_billing', { ...operator, account_id: pathId(c) }, 'allowed')
    return c.json(publicBilling(billing))
  },
)

export const updateBilling = endpoint(
  { says: 'Changes how an account pays, and when it is warned.', body: change, answer: shown },
  async (c, operator: Operator) => {
    const account_id = pathId(c)
    const item = { ...operator, account_id, fields: await readBody(c, change) }
    const { billing } = await obtain(c.env, 'update_billing', item, 'allowed')
    return c.json(publicBilling(billing))
  },
)
