// POST /stripe/webhook: what Stripe tells us of payments, refunds and disputes. Signed; may come twice and in any order. Whatever
// is understood is in the ledger before it is answered, so what was not answered comes again.

import { verifiedEvent } from '../../billing/stripe.ts'
import { ledgerEvent } from '../../billing/stripe-event.ts'
import { askTeller } from '../../db/ask.ts'
import type { Call } from '../../env.ts'
import { ApiError } from '../../error.ts'
import { readText } from '../../field/read-body.ts'

const EVENT_BYTES_MAX = 1 << 20

export async function stripeWebhook(c: Call): Promise<Response> {
  const body = await readText(c.req.raw, EVENT_BYTES_MAX)
  const event = await verifiedEvent(c.env, body, c.req.header('stripe-signature') ?? '')
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
