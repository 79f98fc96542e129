// /admin/accounts/{id}/billing: how an account pays, and when it is warned; PATCH changes it.

import * as z from 'zod'
import type { Operator } from '../../auth/authenticate.ts'
import { ask } from '../../billing/ledger.ts'
import type { Call } from '../../env.ts'
import { pathId } from '../../field/id.ts'
import { nanousd } from '../../field/money.ts'
import { readBody } from '../../field/read-body.ts'

const ALERTS_MAX = 10

const body = z
  .strictObject({
    billing_mode: z.enum(['prepaid', 'postpaid']),
    alert_percents: z.array(z.int().min(0).max(99)).max(ALERTS_MAX),
    alert_amounts_nanousd: z.array(nanousd).max(ALERTS_MAX),
    stripe_customer_id: z
      .string()
      .regex(/^cus_[A-Za-z0-9]{1,100}$/, 'expected an id of a customer at Stripe')
      .nullable(),
  })
  .partial()

interface Answer {
  billing: object
}

export async function retrieveBilling(c: Call, operator: Operator): Promise<Response> {
  return shown(c, await ask<Answer>(c.env, 'read_billing', { ...operator, account_id: pathId(c) }))
}

export async function updateBilling(c: Call, operator: Operator): Promise<Response> {
  const account_id = pathId(c)
  const item = { ...operator, account_id, fields: await readBody(c, body) }
  return shown(c, await ask<Answer>(c.env, 'update_billing', item))
}

function shown(c: Call, { billing }: Answer): Response {
  return c.json({ object: 'billing', ...billing })
}
