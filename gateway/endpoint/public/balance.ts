// GET /v1/balance: what the account has, holds and may still spend, in nano-USD.

import type { Caller } from '../../auth/authenticate.ts'
import { ask } from '../../billing/ledger.ts'
import type { Call } from '../../env.ts'

interface Balance {
  decision: string
  account_id: string
  balance_nanousd: string
  available_nanousd: string
}

export async function balance(c: Call, caller: Caller): Promise<Response> {
  const { decision: _, ...amounts } = await ask<Balance>(c.env, 'read_balance', caller)
  return c.json({ object: 'balance', ...amounts })
}
