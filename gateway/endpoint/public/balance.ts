// GET /v1/balance: what the account has, holds and may still spend, in nano-USD.

import { identify } from '../../auth/authenticate.ts'
import { read } from '../../billing/ledger.ts'
import type { Call } from '../../env.ts'

interface Balance {
  decision: string
  account_id: string
  balance_nanousd: string
  available_nanousd: string
}

export async function balance(c: Call): Promise<Response> {
  const { decision: _, ...amounts } = await read<Balance>(c.env, 'read_balance', await identify(c))
  return c.json({ object: 'balance', ...amounts })
}
