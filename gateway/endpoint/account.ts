// An account as it is shown, to itself and to the operator.

import type * as shown from '../../contract/public/account.ts'

export type Account = Omit<shown.Account, 'object'>

export function publicAccount(account: Account): shown.Account {
  return { object: 'account', ...account }
}
