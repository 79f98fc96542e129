// POST /stripe/webhook: what Stripe tells us of payments, refunds and disputes. Signed; may come twice and in any order. Whatever
// is understood is in the ledger before it is answered, so what was not answered comes again.

import type Stripe from 'stripe'
import * as z from 'zod'
import { ledgerEvent } from '../../billing/stripe-event.ts'
import { ask } from '../../db/ask.ts'
import { endpoint } from '../../endpoint.ts'
import { ApiError } from '../../error.ts'

export const stripeWebhook = endpoint(
  { says: 'Takes an event of Stripe’s.', answer: z.strictObject({ received: z.literal(true), decision: z.string() }) },
  async (c, event: Stripe.Event) => {
    const meaning = ledgerEvent(event)
    if (!meaning) return c.json({ received: true, decision: 'ignored' })
    const { decision } = await ask(c.env, meaning.name, meaning.item)
    // It is not in the ledger: Stripe has to tell it again, and shows that it was refused.
    if (decision === 'uncountable') throw new ApiError('uncountable')
    // Telling it again would mend nothing: a person has to look at it. (What another deployment sold is its own affair.)
    if (!['credited', 'applied', 'waits', 'other_deployment'].includes(decision))
      console.error(`stripe: ${event.type} ${event.id}: ${decision}`)
    return c.json({ received: true, decision })
  },
)
