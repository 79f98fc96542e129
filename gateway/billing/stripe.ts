// Stripe, by its own package: one client a worker, made when it is first needed, and what we ask of it. Without its secrets there
// is no client, and what needs one says so.

import type Stripe from 'stripe'
import type { Env } from '../env.ts'
import { ApiError } from '../error.ts'

let client: Promise<Stripe> | null = null

export async function stripeOf(env: Env): Promise<Stripe> {
  const key = env.STRIPE_SECRET_KEY
  if (!key) throw new ApiError('payments_not_configured')
  client ??= connect(key, env.STRIPE_API_URL)
  return client
}

const TIMEOUT_MS = 20_000

// Imported when it is needed, because every isolate that serves a generation would otherwise evaluate it.
async function connect(key: string, api_url: string): Promise<Stripe> {
  const { Stripe } = await import('stripe')
  const { protocol, hostname, port } = new URL(api_url)
  return new Stripe(key, {
    httpClient: Stripe.createFetchHttpClient(),
    protocol: protocol === 'http:' ? 'http' : 'https',
    host: hostname,
    ...(port && { port }),
    timeout: TIMEOUT_MS,
    maxNetworkRetries: 0, // whoever calls asks again by a name that Stripe knows
    telemetry: false,
  })
}

/** A webhook's event, once its signature has shown that it is Stripe's. */
export async function verifiedEvent(env: Env, body: string, signature: string): Promise<Stripe.Event> {
  if (!env.STRIPE_WEBHOOK_SECRET) throw new ApiError('payments_not_configured')
  const { Stripe } = await import('stripe')
  const webhooks = Stripe.webhooks
  try {
    return await webhooks.constructEventAsync(
      body,
      signature,
      env.STRIPE_WEBHOOK_SECRET,
      undefined,
      Stripe.createSubtleCryptoProvider(),
    )
  } catch {
    throw new ApiError('invalid_signature')
  }
}

export interface Buyer {
  account_id: string
  name: string
  customer_id: string | null
  /** Two deployments may share one account at Stripe: whose account it is goes with everything that names one. */
  deployment_id: string
}

/** A new customer for an account. */
export async function createCustomer(env: Env, buyer: Buyer, request_id: string): Promise<string> {
  const { account_id, name, deployment_id } = buyer
  const stripe = await stripeOf(env)
  const params = { name, metadata: { account_id, deployment_id } }
  const customer = await asked(() => stripe.customers.create(params, retried(`customer-${request_id}`)))
  return customer.id
}

export interface Purchase {
  account_id: string
  customer_id: string
  deployment_id: string
  amount_cents: number
  success_url: string
  cancel_url: string
  request_id: string
}

export async function createCheckout(env: Env, purchase: Purchase): Promise<Stripe.Checkout.Session> {
  const { account_id, customer_id, deployment_id, amount_cents, success_url, cancel_url, request_id } = purchase
  const stripe = await stripeOf(env)
  const metadata = { account_id, deployment_id }
  const price_data = { currency: 'usd', unit_amount: amount_cents, product_data: { name: 'API credit' } }
  return asked(() =>
    stripe.checkout.sessions.create(
      {
        mode: 'payment',
        customer: customer_id,
        client_reference_id: `${deployment_id}-${account_id}`,
        line_items: [{ quantity: 1, price_data }],
        metadata,
        payment_intent_data: { metadata },
        success_url,
        cancel_url,
      },
      retried(`checkout-${request_id}`),
    ),
  )
}

// While a caller waits; a later call of theirs has a name of its own, because Stripe would repeat an error for a day.
function retried(idempotencyKey: string) {
  return { idempotencyKey, maxNetworkRetries: 2 }
}

/** A call to Stripe for somebody who waits: whatever goes wrong, they may try again. */
async function asked<T>(call: () => Promise<T>): Promise<T> {
  try {
    return await call()
  } catch (error) {
    console.error(`stripe: ${describe(error)}`)
    throw new ApiError('payments_unavailable')
  }
}

/** Type, code and Stripe's own id of the request; its text may quote what we sent. */
export function describe(error: unknown): string {
  const { type, code, requestId, message } = error as Partial<Stripe.errors.StripeError>
  return type ? [type, code, requestId].filter(Boolean).join(' ') : String(message)
}
