// An amount of money in JSON: a decimal string of nano-USD that fits a bigint column. Never a number, which would round.

import * as z from 'zod'

const BIGINT_MAX = 2n ** 63n - 1n

export const nanousd = amountTo(BIGINT_MAX, '2^63 - 1')

/** How far an account may go below zero: as far as the database lets it (accounts.overdraft_is_bounded). */
export const overdraftNanousd = amountTo(2n ** 62n, '2^62')

function amountTo(max: bigint, shown: string) {
  return (
    z
      .string()
      // What is no number goes to no later check, here or of the whole body: none of them could count with it.
      .regex(/^\d{1,19}$/, { error: 'expected nano-USD as a decimal string', abort: true })
      .refine((value) => BigInt(value) <= max, { error: `expected at most ${shown}`, abort: true })
  )
}
