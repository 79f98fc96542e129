import { expect, test } from 'vitest'
import { type Quota, quotaMessage } from '../../gateway/quota-message.ts'

const quota: Quota = {
  bound: 'balance',
  limit_nanousd: '1000000000',
  overdraft_nanousd: '0',
  held_nanousd: '0',
  left_nanousd: '1000000000',
  asked_nanousd: '1000000001',
  max_tokens: 7,
}
const left = { overdraft_nanousd: '500000000', limit_nanousd: '-400000000', left_nanousd: '100000000' }

test.each<[string, Partial<Quota>, string]>([
  [
    'the balance',
    {},
    'This request could cost $1.000000001, and $1.00 is left: the balance is $1.00. It would fit with a max_tokens of 7 or less.',
  ],
  [
    'a balance of which requests hold a part',
    { held_nanousd: '999999999', left_nanousd: '1', max_tokens: null },
    'This request could cost $1.000000001, and $0.000000001 is left: the balance is $1.00, and requests that run hold $0.999999999. No max_tokens would fit.',
  ],
  [
    'an overdraft in use',
    left,
    'This request could cost $1.000000001, and $0.10 is left: the balance is -$0.40 and its overdraft $0.50. It would fit with a max_tokens of 7 or less.',
  ],
  [
    'the cap of the key',
    { bound: 'key_cap' },
    'This request could cost $1.000000001, and $1.00 is left: the cap of this key is $1.00 a month. It would fit with a max_tokens of 7 or less.',
  ],
  [
    'the cap of the account',
    { bound: 'account_cap', left_nanousd: '0', max_tokens: null },
    'This request could cost $1.000000001, and $0.00 is left: the cap of this account is $1.00 a month. No max_tokens would fit.',
  ],
])('%s is said in dollars, to the last digit', (_, own, message) => {
  expect(quotaMessage({ ...quota, ...own })).toBe(message)
})
