// Money that an operator moves by hand. A reference names each, so that a repeated call moves it once; where none is given, the same
// amount to the same account within minutes is taken for a repetition, and refused until it is confirmed.

import * as z from 'zod'
import { text } from '../../../contract/public/text.ts'
import type { Operator } from '../../auth/authenticate.ts'
import type { Call } from '../../env.ts'
import { ApiError } from '../../error.ts'

const NOTICED_S = 600

export const byHand = {
  reference: text.min(1).max(200).optional(),
  // Books it once more, though the same was booked a moment ago.
  again: z.boolean().default(false),
}

/** The fields as the ledger is asked about them. */
export function named<F extends { reference?: string | undefined; again: boolean }>(
  c: Call,
  operator: Operator,
  fields: F,
) {
  const { reference, again, ...rest } = fields
  const is_noticed = reference === undefined && !again
  return {
    ...rest,
    ...operator,
    reference: reference ?? `by hand ${c.var.operation.id}`,
    ...(is_noticed && { noticed_s: NOTICED_S }),
  }
}

export function repeated({ entry_id, booked_s_ago }: { entry_id: string; booked_s_ago: number }): ApiError {
  return new ApiError('repeated_by_hand', {
    param: 'reference',
    message: `The same was booked ${booked_s_ago} s ago as entry ${entry_id}. Give a reference, or set again, to book it once more.`,
  })
}
