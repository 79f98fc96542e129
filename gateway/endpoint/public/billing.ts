// GET /v1/billing: how the account pays, and when it is warned.

import { billing as shown } from '../../../contract/public/billing.ts'
import type { Caller } from '../../auth/authenticate.ts'
import { obtain } from '../../db/ask.ts'
import { endpoint } from '../../endpoint.ts'
import { publicBilling } from '../billing.ts'

export const ownBilling = endpoint(
  { says: 'Shows how the account pays, and when it is warned.', answer: shown },
  async (c, caller: Caller) => {
    const { billing } = await obtain(c.env, 'read_billing', caller, 'allowed')
    return c.json(publicBilling(billing))
  },
)
