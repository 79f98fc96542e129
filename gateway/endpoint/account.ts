// An account as it is shown, to itself and to the operator.

export interface Account {
  id: string
}

export function publicAccount(account: Account) {
  return { object: 'account', ...account }
}
