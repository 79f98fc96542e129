// GET /v1/balance: what the account has, holds and may still spend, in nano-USD.

import * as shown from '../../../contract/public/balance.ts'
import type { Caller } from '../../auth/authenticate.ts'
import { obtain } from '../../db/ask.ts'
import { endpoint } from '../../endpoint.ts'

export const balance = endpoint(
  { says: 'Shows what the account has, holds and may still spend.', answer: shown.balance },
  async (c, caller: Caller) => {
    const { decision: _, ...amounts } = await obtain(c.env, 'read_balance', caller, 'allowed')
    return c.json({ object: 'balance', ...amounts } satisfies shown.Balance)
  },
)
