// An account as it is shown, to itself and to the operator.

import type { Account } from '../../contract/public/account.ts'

export function publicAccount(account: Omit<Account, 'object'>): Account {
  return { object: 'account', ...account }
}
