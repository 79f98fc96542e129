// GET /v1/account: the account that the key belongs to.

import { account as shown } from '../../../contract/public/account.ts'
import type { Caller } from '../../auth/authenticate.ts'
import { obtain } from '../../db/ask.ts'
import { endpoint } from '../../endpoint.ts'
import { publicAccount } from '../account.ts'

export const ownAccount = endpoint(
  { says: 'Shows the account of the key.', answer: shown },
  async (c, caller: Caller) => {
    const { account } = await obtain(c.env, 'read_account', caller, 'allowed')
    return c.json(publicAccount(account))
  },
)
