// POST /v1/top-ups/checkout: a page of Stripe's on which the account buys credit. The credit comes with Stripe's webhook.

import * as z from 'zod'
import { checkoutSession } from '../../../contract/public/checkout.ts'
import type { Caller } from '../../auth/authenticate.ts'
import { type Buyer, createCheckout, createCustomer, stripeOf } from '../../billing/stripe.ts'
import { ask, obtain } from '../../db/ask.ts'
import { endpoint } from '../../endpoint.ts'
import type { Call } from '../../env.ts'
import { ApiError } from '../../error.ts'
import { nanousd } from '../../field/money.ts'
import { readBody } from '../../field/read-body.ts'

const NANOUSD_PER_CENT = 10_000_000n
const CENTS_MIN = 100n
const CENTS_MAX = 99_999_999n // Stripe's

const amount = nanousd.pipe(
  z
    .string()
    .refine((value) => BigInt(value) % NANOUSD_PER_CENT === 0n, 'expected whole cents, which are 10000000 nano-USD')
    .refine((value) => BigInt(value) / NANOUSD_PER_CENT >= CENTS_MIN, 'expected at least one dollar')
    .refine((value) => BigInt(value) / NANOUSD_PER_CENT <= CENTS_MAX, 'expected at most 999999.99 dollars'),
)
const page = z.url({ protocol: /^https?$/, error: 'expected a URL of http or https' }).max(2000)

const purchase = z.strictObject({ amount_nanousd: amount, success_url: page, cancel_url: page })

export const createCheckoutSession = endpoint(
  {
    says: 'Makes a page of Stripe’s on which the account buys credit.',
    body: purchase,
    answer: checkoutSession,
    statuses: [201],
  },
  async (c, caller: Caller) => {
    const { amount_nanousd, ...urls } = await readBody(c, purchase)
    await stripeOf(c.env)
    const buyer = await obtain(c.env, 'read_buyer', caller, 'allowed')
    const session = await createCheckout(c.env, {
      account_id: buyer.account_id,
      deployment_id: buyer.deployment_id,
      customer_id: buyer.customer_id ?? (await newCustomer(c, buyer)),
      amount_cents: Number(BigInt(amount_nanousd) / NANOUSD_PER_CENT),
      request_id: c.var.request_id,
      ...urls,
    })
    const { id, url, expires_at } = session
    return c.json({ object: 'checkout_session', id, url, amount_nanousd, expires_unix_s: expires_at }, 201)
  },
)

async function newCustomer(c: Call, buyer: Buyer): Promise<string> {
  const item = { account_id: buyer.account_id, customer_id: await createCustomer(c.env, buyer, c.var.request_id) }
  const answer = await ask(c.env, 'link_stripe_customer', item)
  if (answer.decision !== 'linked') throw new ApiError('internal_error')
  return answer.customer_id
}
