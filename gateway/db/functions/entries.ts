// Money that moves otherwise than by usage. A reference is booked once, whatever it is asked for.

import * as z from 'zod'
import { entryKind } from '../../../contract/public/entry.ts'
import { count, id, nanousd, uuid } from '../../../contract/public/scalar.ts'
import { operator } from './asker.ts'

const movement = {
  ...z.object(operator).partial().shape,
  account_id: id,
  amount_nanousd: nanousd,
  reference: z.string(),
  note: z.string().nullable().optional(),
  noticed_s: count.optional(), // by hand: the same within so long is taken for a repetition
}

const booked = { entry_id: id, account_id: id, kind: entryKind, amount_nanousd: nanousd }
const taken = z.strictObject({ decision: z.literal('reference_taken'), ...booked })
const repeated = z.strictObject({ decision: z.literal('repeated'), entry_id: id, booked_s_ago: count })

export const top_up = {
  item: z.strictObject(movement),
  answer: z.discriminatedUnion('decision', [
    z.strictObject({ decision: z.literal('credited'), ...booked }),
    taken,
    repeated,
    z.strictObject({ decision: z.enum(['unknown_account', 'uncountable']) }),
  ]),
}

export const give_grant = {
  item: z.strictObject({ ...movement, expires_at: z.string() }),
  answer: z.discriminatedUnion('decision', [
    z.strictObject({ decision: z.literal('granted'), ...booked }),
    taken,
    repeated,
    z.strictObject({ decision: z.enum(['unknown_account', 'uncountable']) }),
  ]),
}

export const refund = {
  item: z.strictObject({
    ...movement,
    request_id: uuid,
    amount_nanousd: nanousd.nullable().optional(), // null: all that is left of the charge
  }),
  answer: z.discriminatedUnion('decision', [
    z.strictObject({ decision: z.literal('refunded'), ...booked }),
    taken,
    repeated,
    z.strictObject({ decision: z.enum(['not_charged', 'uncountable']) }),
    z.strictObject({ decision: z.literal('above_charge'), refundable_nanousd: nanousd }),
  ]),
}

export const adjust = {
  item: z.strictObject({
    ...movement,
    direction: z.enum(['credit', 'debit']),
    may_overdraw: z.boolean().optional(),
    invoice_number: z.int().min(1).optional(), // which a credit corrects
  }),
  answer: z.discriminatedUnion('decision', [
    z.strictObject({ decision: z.literal('adjusted'), ...booked }),
    taken,
    repeated,
    z.strictObject({ decision: z.enum(['unknown_account', 'insufficient_balance', 'uncountable', 'unknown_invoice']) }),
    z.strictObject({ decision: z.literal('above_invoice'), creditable_nanousd: nanousd }),
  ]),
}

export const expire_due_grants = {
  item: z.strictObject({ count_max: count }),
  answer: z.strictObject({ decision: z.literal('expired'), count }),
}
