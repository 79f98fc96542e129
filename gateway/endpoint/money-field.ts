// An amount of money in JSON: a decimal string of nano-USD that fits a bigint column. Never a number, which would round.

import { z } from 'zod'

const BIGINT_MAX = 2n ** 63n - 1n

export const nanousd = z
  .string()
  .regex(/^\d{1,19}$/, 'expected nano-USD as a decimal string')
  .refine((value) => /^\d{1,19}$/.test(value) && BigInt(value) <= BIGINT_MAX, 'expected at most 2^63 - 1')
