// POST /admin/grants, /admin/refunds and /admin/adjustments: money that an operator moves. A credit may correct an invoice that is closed,
// by a credit note. GET /admin/entries: the statement of any account.

import * as z from 'zod'
import { bookedEntry } from '../../../contract/public/entry.ts'
import { text } from '../../../contract/public/text.ts'
import type { Operator } from '../../auth/authenticate.ts'
import { ask } from '../../db/ask.ts'
import type { Answer } from '../../db/functions.ts'
import { accountOf } from '../../db/query.ts'
import { endpoint } from '../../endpoint.ts'
import type { Call } from '../../env.ts'
import { ApiError } from '../../error.ts'
import { invoiceId, requestId, rowId } from '../../field/id.ts'
import { nanousd } from '../../field/money.ts'
import { pageQuery } from '../../field/page.ts'
import { readQuery } from '../../field/query.ts'
import { readBody } from '../../field/read-body.ts'
import { moment } from '../../field/time.ts'
import { listing, statement } from '../statement.ts'
import { byHand, named, repeated } from './by-hand.ts'

const amount_nanousd = nanousd.refine((amount) => /[1-9]/.test(amount), 'expected more than nothing')
const common = {
  account_id: rowId,
  ...byHand,
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
  invoice_id: invoiceId.optional(),
})

const query = pageQuery({ account_id: rowId })

export const listAccountEntries = endpoint({ ...listing, query }, async (c, operator: Operator) => {
  const { account_id, ...page } = readQuery(c, query)
  return statement(c, { ...page, account_id: await accountOf(c.env, { ...operator, scope: 'usage', account_id }) })
})

const booking = { answer: bookedEntry, statuses: [201] } as const

export const createGrant = endpoint(
  { says: 'Gives an account credit that ends.', body: grant, ...booking },
  async (c, operator: Operator) => {
    const item = named(c, operator, await readBody(c, grant))
    const answer = await ask(c.env, 'give_grant', item)
    return answer.decision === 'granted' ? booked(c, item, answer) : refused(answer)
  },
)

export const createRefund = endpoint(
  { says: 'Gives back what a request was charged, or a part of it.', body: refund, ...booking },
  async (c, operator: Operator) => {
    const item = named(c, operator, await readBody(c, refund))
    const answer = await ask(c.env, 'refund', item)
    return answer.decision === 'refunded' ? booked(c, item, answer) : refused(answer)
  },
)

export const createAdjustment = endpoint(
  { says: 'Credits or debits an account.', body: adjustment, ...booking },
  async (c, operator: Operator) => {
    const { invoice_id, ...fields } = await readBody(c, adjustment)
    const item = { ...named(c, operator, fields), ...(invoice_id && correcting(invoice_id, fields)) }
    const answer = await ask(c.env, 'adjust', item)
    return answer.decision === 'adjusted' ? booked(c, item, answer) : refused(answer)
  },
)

/** The number of the invoice that a credit corrects, which is the account's own. */
function correcting(id: string, { account_id, direction }: { account_id: string; direction: string }) {
  const [, owner, number] = id.split('_')
  if (direction !== 'credit') throw invalid('invoice_id', 'An invoice is corrected by a credit.')
  if (owner !== account_id) throw new ApiError('not_found', { param: 'invoice_id' })
  return { invoice_number: Number(number) }
}

type Answers = Answer<'give_grant'> | Answer<'refund'> | Answer<'adjust'>
type Booked = Extract<Answers, { decision: 'granted' | 'refunded' | 'adjusted' }>

type Item = Operator & { invoice_number?: number; noticed_s?: number }

function booked(c: Call, item: Item, { entry_id, account_id, kind, amount_nanousd }: Booked): Response {
  const { operator: _, by: __, noticed_s: ___, invoice_number, ...fields } = item
  const corrected = invoice_number && { invoice_id: `inv_${account_id}_${invoice_number}` }
  return c.json({ object: 'entry', id: entry_id, ...fields, ...corrected, account_id, kind, amount_nanousd }, 201)
}

function refused(answer: Exclude<Answers, Booked>): never {
  switch (answer.decision) {
    case 'unknown_account':
      throw new ApiError('not_found', { param: 'account_id' })
    case 'not_charged':
      throw new ApiError('not_found', { param: 'request_id' })
    case 'uncountable':
      throw new ApiError('uncountable', { param: 'amount_nanousd' })
    case 'repeated':
      throw repeated(answer)
    case 'unknown_invoice':
      throw new ApiError('not_found', { param: 'invoice_id' })
    case 'above_invoice':
      throw invalid('amount_nanousd', `Of this invoice ${answer.creditable_nanousd} nano-USD can still be credited.`)
    case 'reference_taken':
      throw invalid('reference', 'This reference booked something else already.')
    case 'above_charge':
      throw invalid('amount_nanousd', `Of this charge ${answer.refundable_nanousd} nano-USD can still be refunded.`)
    case 'insufficient_balance':
      throw invalid('amount_nanousd', 'The balance does not cover this. Set may_overdraw to leave the account in debt.')
  }
}

function invalid(param: string, message: string): ApiError {
  return new ApiError('invalid_value', { param, message })
}
