// Accounts, how they pay, and what they have.

import * as z from 'zod'
import * as shown from '../../../contract/public/account.ts'
import { balance } from '../../../contract/public/balance.ts'
import * as paying from '../../../contract/public/billing.ts'
import { scope } from '../../../contract/public/key.ts'
import { limits } from '../../../contract/public/limits.ts'
import { count, id, nanousd, uuid } from '../../../contract/public/scalar.ts'
import { asked, keyRefusals, operator } from './asker.ts'

const account = shown.account.omit({ object: true })
const billing = paying.billing.omit({ object: true })

const optional = z.strictObject({ name: z.string(), overdraft_nanousd: nanousd, ...limits.shape }).partial()

export const create_account = {
  item: z.strictObject({
    ...optional.shape,
    ...z.object(operator).partial().shape,
    name: z.string(),
    created_by: uuid,
  }),
  answer: z.strictObject({ decision: z.literal('created'), account_id: id, account }),
}

/** The asker's own account, or the one that the operator names. */
const one = asked({}, { account_id: id })
const refusals = z.enum([...keyRefusals, 'not_found'])

/** Whose account it is that a key asks about: what is read by another login (queries.ts) is read for that one. */
export const find_account = {
  item: asked({ scope }, { account_id: id }),
  answer: z.discriminatedUnion('decision', [
    z.strictObject({ decision: z.literal('allowed'), account_id: id }),
    z.strictObject({ decision: refusals }),
  ]),
}

export const read_account = {
  item: one,
  answer: z.discriminatedUnion('decision', [
    z.strictObject({ decision: z.literal('allowed'), account }),
    z.strictObject({ decision: refusals, account: z.null() }),
  ]),
}

export const update_account = {
  item: z.strictObject({ ...operator, account_id: id, fields: optional }),
  answer: z.discriminatedUnion('decision', [
    z.strictObject({ decision: z.literal('allowed'), account }),
    z.strictObject({ decision: z.enum(['not_found', 'overdraft_in_use']) }),
  ]),
}

const suspension = {
  item: z.strictObject({ ...operator, account_id: id }),
  answer: z.discriminatedUnion('decision', [
    z.strictObject({ decision: z.literal('allowed'), account }),
    z.strictObject({ decision: z.literal('not_found') }),
  ]),
}

export const suspend_account = suspension
export const resume_account = suspension

export const read_balance = {
  item: one,
  answer: z.discriminatedUnion('decision', [
    z.strictObject({ decision: z.literal('allowed'), ...balance.omit({ object: true }).shape }),
    z.strictObject({ decision: refusals }),
  ]),
}

export const read_billing = {
  item: one,
  answer: z.discriminatedUnion('decision', [
    z.strictObject({ decision: z.literal('allowed'), billing }),
    z.strictObject({ decision: refusals, billing: z.null() }),
  ]),
}

export const update_billing = {
  item: z.strictObject({
    ...operator,
    account_id: id,
    fields: z
      .strictObject({
        billing_mode: paying.billingMode,
        alert_percents: z.array(count),
        alert_amounts_nanousd: z.array(nanousd),
        stripe_customer_id: z.string().nullable(),
      })
      .partial(),
  }),
  answer: z.discriminatedUnion('decision', [
    z.strictObject({ decision: z.literal('allowed'), billing }),
    z.strictObject({ decision: z.enum(['not_found', 'customer_taken']) }),
  ]),
}
