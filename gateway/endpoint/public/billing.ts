// GET /v1/billing: how the account pays, and when it is warned.

import type { Caller } from '../../auth/authenticate.ts'
import { ask } from '../../billing/ledger.ts'
import type { Call } from '../../env.ts'

export async function ownBilling(c: Call, caller: Caller): Promise<Response> {
  const { billing } = await ask<{ billing: object }>(c.env, 'read_billing', caller)
  return c.json({ object: 'billing', ...billing })
}
