// What an event of Stripe's means for the ledger: a payment, something taken back of one or returned after all, or nothing. Each
// is named by Stripe's own id of what happened, not of the event, so that events may come twice, late and in any order.

import type Stripe from 'stripe'
import type { Call } from '../db/functions.ts'

export type LedgerEvent = Extract<Call, { name: 'stripe_payment' | 'stripe_reversal' }>

export function ledgerEvent(event: Stripe.Event): LedgerEvent | null {
  switch (event.type) {
    case 'checkout.session.completed':
    case 'checkout.session.async_payment_succeeded':
      return purchase(event.data.object)
    case 'payment_intent.succeeded': // of an invoice too, by which a postpaid account pays
      return payment(event.data.object)
    case 'refund.created':
    case 'refund.updated':
    case 'refund.failed':
    case 'charge.refund.updated':
      return refund(event.data.object)
    case 'charge.dispute.funds_withdrawn':
      return reversal(event.data.object, false)
    case 'charge.dispute.funds_reinstated':
      return reversal(event.data.object, true)
    default:
      return null
  }
}

function purchase(session: Stripe.Checkout.Session): LedgerEvent | null {
  const { payment_status, currency, amount_total, metadata, payment_intent } = session
  if (payment_status !== 'paid' || currency !== 'usd' || !amount_total || !payment_intent) return null
  return credit(idOf(payment_intent), amount_total, { ...metadata, customer_id: null })
}

function payment({ id, amount_received, currency, metadata, customer }: Stripe.PaymentIntent): LedgerEvent | null {
  if (currency !== 'usd' || amount_received <= 0) return null
  return credit(id, amount_received, { ...metadata, customer_id: customer && idOf(customer) })
}

interface Payer {
  account_id?: string
  deployment_id?: string
  customer_id: string | null
}

// Metadata is a person's to write: what is no id of ours names no account, and one of no deployment may be ours.
function credit(id: string, cents: number, payer: Payer): LedgerEvent | null {
  const account_id = /^[1-9]\d{0,17}$/.test(payer.account_id ?? '') ? payer.account_id! : null
  if (!account_id && !payer.customer_id) return null
  const customer_id = account_id ? null : payer.customer_id
  const deployment_id = account_id && UUID.test(payer.deployment_id ?? '') ? payer.deployment_id!.toLowerCase() : null
  const amount_nanousd = nanousd(cents)
  return { name: 'stripe_payment', item: { payment: id, account_id, customer_id, amount_nanousd, deployment_id } }
}

function refund(object: Stripe.Refund): LedgerEvent | null {
  if (object.status === 'succeeded') return reversal(object, false)
  // One that had succeeded can fail later.
  return object.status === 'failed' || object.status === 'canceled' ? reversal(object, true) : null
}

function reversal(object: Stripe.Refund | Stripe.Dispute, returned: boolean): LedgerEvent | null {
  const { id: reference, payment_intent, amount, currency } = object
  if (!payment_intent || currency !== 'usd' || amount <= 0) return null
  const item = { reference, payment: idOf(payment_intent), amount_nanousd: nanousd(amount), returned }
  return { name: 'stripe_reversal', item }
}

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i
const NANOUSD_PER_CENT = 10_000_000n

function nanousd(cents: number): string {
  return String(BigInt(cents) * NANOUSD_PER_CENT)
}

function idOf(object: string | { id: string }): string {
  return typeof object === 'string' ? object : object.id
}
