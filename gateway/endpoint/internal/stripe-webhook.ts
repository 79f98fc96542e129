// POST /stripe/webhook: what Stripe tells us of payments, refunds and disputes. Signed; may come twice and in any order. Whatever
// is understood is in the ledger before it is answered, so what was not answered comes again.

import type Stripe from 'stripe'
import { ledgerEvent } from '../../billing/stripe-event.ts'
import { askTeller } from '../../db/ask.ts'
import type { Call } from '../../env.ts'
import { ApiError } from '../../error.ts'

export async function stripeWebhook(c: Call, event: Stripe.Event): Promise<Response> {
  const meaning = ledgerEvent(event)
  if (!meaning) return c.json({ received: true, decision: 'ignored' })
  const [answer] = await askTeller(c.env, meaning.name, { shard_by: meaning.item.payment, items: [meaning.item] })
  const { decision } = answer!
  // Not in the ledger: Stripe has to tell it again, and shows that it was refused.
  if (decision === 'uncountable') throw new ApiError('uncountable')
  if (decision === 'failed') throw new ApiError('internal_error')
  // Nothing that asking again would mend: for a person to look at.
  if (!['credited', 'applied', 'waits'].includes(decision))
    console.error(`stripe: ${event.type} ${event.id}: ${decision}`)
  return c.json({ received: true, decision })
}
