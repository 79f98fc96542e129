// Every guard and endpoint in order: the table of contents. What a request goes through stands in the endpoint it reaches.

import { Hono } from 'hono'
import { authenticate, authenticateAdmin, identify } from './auth/authenticate.ts'
import { clientAddress } from './auth/client-address.ts'
import { stripeWebhook } from './endpoint/internal/stripe-webhook.ts'
import { internalSync } from './endpoint/internal/sync.ts'
import {
  createAccount,
  listAccounts,
  ownAccount,
  retrieveAccount,
  updateAccount,
} from './endpoint/operator/accounts.ts'
import { listAnomalies } from './endpoint/operator/anomalies.ts'
import { createAdjustment, createGrant, createRefund } from './endpoint/operator/entries.ts'
import { listPrices, publishPrice } from './endpoint/operator/prices.ts'
import { ledgerHealthz, metrics, reconcileNow } from './endpoint/operator/reconcile.ts'
import { createTopUp } from './endpoint/operator/top-ups.ts'
import { balance } from './endpoint/public/balance.ts'
import { ownBilling, retrieveBilling, updateBilling } from './endpoint/public/billing.ts'
import { chatCompletions } from './endpoint/public/chat-completions.ts'
import { createCheckoutSession } from './endpoint/public/checkout.ts'
import { completions } from './endpoint/public/completions.ts'
import { health } from './endpoint/public/health.ts'
import { operatorsInvoices, ownInvoices } from './endpoint/public/invoices.ts'
import { leakKey, operatorsKeys, ownKeys } from './endpoint/public/keys.ts'
import { listModels, retrieveModel } from './endpoint/public/models.ts'
import { receiptKeys } from './endpoint/public/receipt-keys.ts'
import { listUsage, retrieveAnyUsage, retrieveUsage } from './endpoint/public/usage.ts'
import { reportAccountUsage } from './endpoint/public/usage-report.ts'
import type { App, Call } from './env.ts'
import { ApiError, errorResponse } from './error.ts'
import { readBodyText } from './field/read-body.ts'
import { once } from './limits/idempotency.ts'
import { refuseFlood, refuseForgeries, refuseGuessing, rememberKey, rememberNode } from './limits/sieve.ts'

type Handler = (c: Call) => Promise<Response>

export const app = new Hono<App>()

app.use(async (c, next) => {
  const request_id = crypto.randomUUID()
  c.set('request_id', request_id)
  c.set('started_ms', Date.now())
  c.set('operation', { id: request_id, seed: null })
  c.set('address', clientAddress(c.req.raw))
  c.set('key_hash', null)
  c.set('headers', {})
  await next()
  const { headers } = c.res
  for (const [name, value] of Object.entries(c.get('headers'))) headers.set(name, value)
  headers.set('x-request-id', c.get('request_id'))
})

app.use(async (c, next) => {
  if (!c.req.path.startsWith('/internal/')) await refuseFlood(c)
  await next()
})
app.use('/internal/*', async (c, next) => {
  await refuseForgeries(c)
  await next()
  await rememberNode(c)
})
app.use('/v1/*', async (c, next) => {
  await refuseGuessing(c, () => authenticate(c.req.raw))
  await next()
  await rememberKey(c)
})

generation('/v1/completions', completions)
generation('/v1/chat/completions', chatCompletions)
endpoint('/v1/models', { GET: listModels })
endpoint('/v1/models/:id', { GET: retrieveModel })
endpoint('/v1/usage', { GET: listUsage })
endpoint('/v1/usage/:request_id', { GET: retrieveUsage })
endpoint('/v1/balance', { GET: balance })
endpoint('/v1/account', { GET: ownAccount })
endpoint('/v1/keys', { GET: ownKeys.list, POST: ownKeys.create }, { scope: 'keys' })
endpoint('/v1/keys/leak', { POST: leakKey }, { is_once: false }) // it is the same however often, and by keys that may nothing else
endpoint('/v1/keys/:id', { GET: ownKeys.retrieve, PATCH: ownKeys.update, DELETE: ownKeys.revoke })
endpoint('/v1/keys/:id/rotate', { POST: ownKeys.rotate }, { scope: 'keys' })
endpoint('/v1/billing', { GET: ownBilling })
endpoint('/v1/invoices', { GET: ownInvoices.list })
endpoint('/v1/invoices/:id', { GET: ownInvoices.retrieve })
endpoint('/v1/top-ups/checkout', { POST: createCheckoutSession }, { scope: 'admin' })
endpoint('/healthz', { GET: health })
endpoint('/healthz/ledger', { GET: ledgerHealthz })
endpoint('/.well-known/receipt-keys.json', { GET: receiptKeys })
endpoint('/metrics', { GET: metrics })
endpoint('/internal/sync', { POST: internalSync }, { is_once: false }) // signed by nodes, and settled once whatever they repeat
endpoint('/stripe/webhook', { POST: stripeWebhook }, { is_once: false }) // signed by Stripe, and booked once by the event's id
endpoint('/admin/accounts', { GET: listAccounts, POST: createAccount })
endpoint('/admin/accounts/:id', { GET: retrieveAccount, PATCH: updateAccount })
endpoint('/admin/accounts/:id/billing', { GET: retrieveBilling, PATCH: updateBilling })
endpoint('/admin/invoices', { GET: operatorsInvoices.list })
endpoint('/admin/invoices/:id', { GET: operatorsInvoices.retrieve })
endpoint('/admin/keys', { GET: operatorsKeys.list, POST: operatorsKeys.create })
endpoint('/admin/keys/:id', { GET: operatorsKeys.retrieve, PATCH: operatorsKeys.update, DELETE: operatorsKeys.revoke })
endpoint('/admin/keys/:id/rotate', { POST: operatorsKeys.rotate })
endpoint('/admin/top-ups', { POST: createTopUp })
endpoint('/admin/grants', { POST: createGrant })
endpoint('/admin/refunds', { POST: createRefund })
endpoint('/admin/adjustments', { POST: createAdjustment })
endpoint('/admin/prices', { GET: listPrices, POST: publishPrice })
endpoint('/admin/usage', { GET: reportAccountUsage })
endpoint('/admin/usage/:request_id', { GET: retrieveAnyUsage })
endpoint('/admin/reconcile', { GET: reconcileNow })
endpoint('/admin/anomalies', { GET: listAnomalies })

app.notFound(() => errorResponse(new ApiError('not_found')))

app.onError((error, c) => {
  if (error instanceof ApiError) return errorResponse(error)
  console.error(`${c.var.request_id} ${c.req.method} ${c.req.path}:`, error)
  return errorResponse(new ApiError('internal_error'))
})

interface PostOptions {
  is_once?: boolean
  /** What the POST asks of a key: one without it is shown no result that was kept for another. */
  scope?: string
}

/** A POST is done once for an Idempotency-Key, where the endpoint does not see to that itself. */
function endpoint(path: string, methods: Record<string, Handler>, { is_once = true, scope }: PostOptions = {}): void {
  for (const [method, handler] of Object.entries(methods)) {
    const carry = method === 'POST' && is_once ? (c: Call) => doOnce(c, handler, scope) : handler
    app.on(method, path, (c) => toItsEnd(c, carry(c)))
  }
  const allow = Object.keys(methods)
    .flatMap((method) => (method === 'GET' ? ['GET', 'HEAD'] : [method]))
    .join(', ')
  app.all(path, () => {
    throw new ApiError('method_not_allowed', { headers: { allow } })
  })
}

/** Its Idempotency-Key is decided with the admission, in the same call. */
function generation(path: string, handler: Handler): void {
  endpoint(path, { POST: handler }, { is_once: false })
}

async function doOnce(c: Call, handler: Handler, scope?: string): Promise<Response> {
  if (c.req.header('idempotency-key') === undefined) return handler(c)
  const asker = scope === undefined ? await theOperator(c) : { ...(await identify(c)), scope }
  const text = await readBodyText(c.req.raw)
  const { url, method, headers } = c.req.raw
  c.req.raw = new Request(url, { method, headers, body: text })
  return once(c, asker, text, () => handler(c))
}

async function theOperator(c: Call): Promise<{ operator: true }> {
  await authenticateAdmin(c.req.raw, c.env.ADMIN_KEY)
  return { operator: true }
}

// When a client leaves, the runtime drops what was begun for it. What holds money is brought to its end all the same.
function toItsEnd(c: Call, work: Promise<Response>): Promise<Response> {
  c.executionCtx.waitUntil(work.catch(() => {}))
  return work
}
