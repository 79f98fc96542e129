// Tells a client whose request could cost too much in dollars: what it could cost, what there is, and which max_tokens would fit.

import { usd } from '../contract/usd.ts'

export interface Quota {
  /** What refused: the key's or the account's cap, or the balance. */
  bound: 'key_cap' | 'account_cap' | 'balance'
  limit_nanousd: string
  overdraft_nanousd: string
  held_nanousd: string
  left_nanousd: string
  asked_nanousd: string
  /** A choice; null where not one token would fit. */
  max_tokens: number | null
}

export function quotaMessage(quota: Quota): string {
  const { asked_nanousd, left_nanousd, max_tokens } = quota
  const cost = `This request could cost ${dollars(asked_nanousd)}, and ${dollars(left_nanousd)} is left: ${boundOf(quota)}.`
  return max_tokens === null
    ? `${cost} No max_tokens would fit.`
    : `${cost} It would fit with a max_tokens of ${max_tokens} or less.`
}

function boundOf({ bound, limit_nanousd, overdraft_nanousd, held_nanousd }: Quota): string {
  const limit = {
    key_cap: `the cap of this key is ${dollars(limit_nanousd)} a month`,
    account_cap: `the cap of this account is ${dollars(limit_nanousd)} a month`,
    balance: `the balance is ${dollars(limit_nanousd)}`,
  }[bound]
  const overdraft = overdraft_nanousd === '0' ? '' : ` and its overdraft ${dollars(overdraft_nanousd)}`
  const held = held_nanousd === '0' ? '' : `, and requests that run hold ${dollars(held_nanousd)}`
  return limit + overdraft + held
}

function dollars(nanousd: string): string {
  return nanousd.startsWith('-') ? `-$${usd(nanousd.slice(1))}` : `$${usd(nanousd)}`
}
