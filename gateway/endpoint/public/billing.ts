// GET /v1/billing and /admin/accounts/{id}/billing: how an account pays, and when it is warned; PATCH changes it.

import * as z from 'zod'
import { authenticateAdmin, identify } from '../../auth/authenticate.ts'
import { ask } from '../../billing/ledger.ts'
import type { Call } from '../../env.ts'
import { nanousd } from '../../field/money.ts'
import { readBody } from '../../field/read-body.ts'
import { pathId } from '../../field/row-id.ts'

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

export async function ownBilling(c: Call): Promise<Response> {
  return shown(c, await ask<Answer>(c.env, 'read_billing', await identify(c)))
}

export async function retrieveBilling(c: Call): Promise<Response> {
  await authenticateAdmin(c.req.raw, c.env.ADMIN_KEY)
  return shown(c, await ask<Answer>(c.env, 'read_billing', { operator: true, account_id: pathId(c) } as never))
}

export async function updateBilling(c: Call): Promise<Response> {
  await authenticateAdmin(c.req.raw, c.env.ADMIN_KEY)
  const item = { operator: true, account_id: pathId(c), fields: await readBody(c.req.raw, body as z.ZodType<object>) }
  return shown(c, await ask<Answer>(c.env, 'update_billing', item as never))
}

function shown(c: Call, { billing }: Answer): Response {
  return c.json({ object: 'billing', ...billing })
}
