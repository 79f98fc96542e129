// GET /v1/account: the account that the key belongs to.

import type { Caller } from '../../auth/authenticate.ts'
import { ask } from '../../billing/ledger.ts'
import type { Call } from '../../env.ts'
import { type Account, publicAccount } from '../account.ts'

export async function ownAccount(c: Call, caller: Caller): Promise<Response> {
  const { account } = await ask<{ account: Account }>(c.env, 'read_account', caller)
  return c.json(publicAccount(account))
}
