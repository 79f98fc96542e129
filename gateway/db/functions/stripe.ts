// Stripe: customers and payments in, usage out.

import * as z from 'zod'
import { count, id, nanousd, uuid } from '../../../contract/public/scalar.ts'
import { caller, keyRefusals } from './asker.ts'
import { top_up } from './entries.ts'

export const read_buyer = {
  item: z.strictObject(caller),
  answer: z.discriminatedUnion('decision', [
    z.strictObject({
      decision: z.literal('allowed'),
      account_id: id,
      name: z.string(),
      customer_id: z.string().nullable(),
      deployment_id: uuid,
    }),
    z.strictObject({
      decision: z.enum(keyRefusals),
      account_id: id.nullable(),
      name: z.string().nullable(),
      customer_id: z.string().nullable(),
      deployment_id: uuid,
    }),
  ]),
}

export const link_stripe_customer = {
  item: z.strictObject({ account_id: id, customer_id: z.string() }),
  answer: z.discriminatedUnion('decision', [
    z.strictObject({ decision: z.literal('linked'), customer_id: z.string() }),
    z.strictObject({ decision: z.enum(['customer_taken', 'unknown_account']), customer_id: z.null() }),
  ]),
}

export const stripe_payment = {
  item: z.strictObject({
    payment: z.string(), // Stripe's payment intent
    account_id: id.nullable(), // null: whose customer it is
    customer_id: z.string().nullable(),
    amount_nanousd: nanousd,
    deployment_id: uuid.nullable().optional(), // whose account it names
  }),
  answer: z.discriminatedUnion('decision', [
    ...top_up.answer.options,
    z.strictObject({ decision: z.literal('other_deployment') }),
  ]),
}

export const stripe_reversal = {
  item: z.strictObject({
    reference: z.string(), // a refund or a dispute
    payment: z.string(),
    amount_nanousd: nanousd,
    returned: z.boolean(), // true where it did not come to pass: the money is with us, whether or not we heard that it had been taken
  }),
  answer: z.strictObject({
    // What kept one from being booked is tried again.
    decision: z.enum(['applied', 'waits', 'reference_taken', 'unknown_account', 'insufficient_balance', 'uncountable']),
  }),
}

export const collect_metering = {
  item: z.strictObject({ count_max: count, entries_max: count }),
  answer: z.strictObject({ decision: z.literal('collected'), count }),
}

const hour = { account_id: id, hour_unix_s: count, revision: count }

export const claim_meter_events = {
  item: z.strictObject({ count_max: count, names_deployment: z.literal(true).optional() }),
  answer: z.strictObject({
    decision: z.literal('claimed'),
    events: z.array(
      z.strictObject({
        ...hour,
        customer_id: z.string(),
        attempt: z.int().min(1),
        identifier: z.string(),
        value_nanousd: nanousd,
      }),
    ),
  }),
}

export const note_meter_event = {
  item: z.strictObject({ ...hour, state: z.enum(['sent', 'rejected']), error: z.string().nullable() }),
  answer: z.strictObject({ decision: z.literal('noted') }),
}

const customerDay = { customer_id: z.string(), day_unix_s: count }

export const due_meter_days = {
  item: z.strictObject({ count_max: count }),
  answer: z.strictObject({ decision: z.literal('due'), days: z.array(z.strictObject(customerDay)) }),
}

export const reconcile_meter_day = {
  item: z.strictObject({ ...customerDay, counted_nanousd: nanousd }),
  answer: z.discriminatedUnion('decision', [
    z.strictObject({ decision: z.enum(['equal', 'corrected']), missing_nanousd: nanousd }),
    z.strictObject({ decision: z.literal('not_due') }),
  ]),
}
