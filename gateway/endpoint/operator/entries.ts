// POST /admin/grants, /admin/refunds and /admin/adjustments: money that an operator moves. A reference names each, so that a
// repeated call moves it once. GET /admin/entries: the statement of any account.

import * as z from 'zod'
import type { Operator } from '../../auth/authenticate.ts'
import { askTeller, type Decided } from '../../db/ask.ts'
import { accountOf } from '../../db/query.ts'
import type { Call } from '../../env.ts'
import { ApiError } from '../../error.ts'
import { requestId, rowId } from '../../field/id.ts'
import { nanousd } from '../../field/money.ts'
import { pageQuery } from '../../field/page.ts'
import { readQuery } from '../../field/query.ts'
import { readBody } from '../../field/read-body.ts'
import { text } from '../../field/text.ts'
import { moment } from '../../field/time.ts'
import { statement } from '../statement.ts'

interface Booked {
  entry_id: string
  account_id: string
  kind: string
  amount_nanousd: string
  refundable_nanousd?: string
}

const amount_nanousd = nanousd.refine((amount) => /[1-9]/.test(amount), 'expected more than nothing')
const common = {
  account_id: rowId,
  reference: text.min(1).max(200),
  note: text.max(1000).nullable().default(null),
}
const grant = z.strictObject({ ...common, amount_nanousd, expires_at: moment })
const refund = z.strictObject({
  ...common,
  request_id: requestId,
  amount_nanousd: amount_nanousd.nullable().default(null),
})
const adjustment = z.strictObject({
  ...common,
  amount_nanousd,
  direction: z.enum(['credit', 'debit']),
  may_overdraw: z.boolean().default(false),
})

const page = pageQuery({ account_id: rowId })

export async function listAccountEntries(c: Call, operator: Operator): Promise<Response> {
  const { account_id, ...wanted } = readQuery(c, page)
  return statement(c, { ...wanted, account_id: await accountOf(c.env, { ...operator, scope: 'usage', account_id }) })
}

export function createGrant(c: Call): Promise<Response> {
  return book(c, { name: 'give_grant', schema: grant, done: 'granted' })
}

export function createRefund(c: Call): Promise<Response> {
  return book(c, { name: 'refund', schema: refund, done: 'refunded' })
}

export function createAdjustment(c: Call): Promise<Response> {
  return book(c, { name: 'adjust', schema: adjustment, done: 'adjusted' })
}

async function book(c: Call, how: { name: string; schema: z.ZodType<object>; done: string }): Promise<Response> {
  const fields = await readBody(c, how.schema)
  const [answer] = await askTeller<Decided & Booked>(c.env, how.name, { shard_by: 'admin', items: [fields] })
  if (answer!.decision !== how.done) throw refusal(answer!)
  const { entry_id, account_id, kind, amount_nanousd } = answer!
  return c.json({ object: 'entry', id: entry_id, ...fields, account_id, kind, amount_nanousd }, 201)
}

function refusal({ decision, refundable_nanousd }: Decided & Booked): ApiError {
  switch (decision) {
    case 'unknown_account':
      return new ApiError('not_found', { param: 'account_id' })
    case 'not_charged':
      return new ApiError('not_found', { param: 'request_id' })
    case 'uncountable':
      return new ApiError('uncountable', { param: 'amount_nanousd' })
    case 'reference_taken':
      return invalid('reference', 'This reference booked something else already.')
    case 'above_charge':
      return invalid('amount_nanousd', `Of this charge ${refundable_nanousd} nano-USD can still be refunded.`)
    case 'insufficient_balance':
      return invalid(
        'amount_nanousd',
        'The balance does not cover this. Set may_overdraw to leave the account in debt.',
      )
    default:
      return new ApiError('internal_error')
  }
}

function invalid(param: string, message: string): ApiError {
  return new ApiError('invalid_value', { param, message })
}
