// GET /v1/balance: what the account has, holds and may still spend, in nano-USD.

import { authenticate } from '../auth/authenticate.ts'
import { read } from '../billing/ledger.ts'
import type { Call } from '../env.ts'

interface Balance {
  decision: string
  account_id: string
  balance_nanousd: string
  available_nanousd: string
}

export async function balance(c: Call): Promise<Response> {
  const key_hash = await authenticate(c.req.raw)
  const { decision: _, ...amounts } = await read<Balance>(c.env, 'read_balance', { key_hash })
  return c.json({ object: 'balance', ...amounts })
}
