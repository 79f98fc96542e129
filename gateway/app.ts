// Every guard and endpoint in order: the table of contents. What a request goes through stands in the endpoint it reaches.

import { Hono } from 'hono'
import { cors } from 'hono/cors'
import { authenticate } from './auth/authenticate.ts'
import { clientAddress } from './auth/client-address.ts'
import { stripeWebhook } from './endpoint/internal/stripe-webhook.ts'
import { internalSync } from './endpoint/internal/sync.ts'
import { createAccount, listAccounts, retrieveAccount, updateAccount } from './endpoint/operator/accounts.ts'
import { listAnomalies } from './endpoint/operator/anomalies.ts'
import { retrieveBilling, updateBilling } from './endpoint/operator/billing.ts'
import { createAdjustment, createGrant, createRefund, listAccountEntries } from './endpoint/operator/entries.ts'
import { operatorsInvoices } from './endpoint/operator/invoices.ts'
import { operatorsKeys } from './endpoint/operator/keys.ts'
import { listPrices, publishPrice } from './endpoint/operator/prices.ts'
import { metrics, reconcileNow } from './endpoint/operator/reconcile.ts'
import { createTopUp } from './endpoint/operator/top-ups.ts'
import { reportAccountUsage, retrieveAnyUsage } from './endpoint/operator/usage.ts'
import { ownAccount } from './endpoint/public/account.ts'
import { balance } from './endpoint/public/balance.ts'
import { ownBilling } from './endpoint/public/billing.ts'
import { chatCompletions } from './endpoint/public/chat-completions.ts'
import { createCheckoutSession } from './endpoint/public/checkout.ts'
import { completions } from './endpoint/public/completions.ts'
import { documentOf } from './endpoint/public/document.ts'
import { listEntries } from './endpoint/public/entries.ts'
import { health, ledgerHealthz } from './endpoint/public/health.ts'
import { ownInvoices } from './endpoint/public/invoices.ts'
import { leakKey, ownKeys } from './endpoint/public/keys.ts'
import { namingScopes } from './endpoint/public/missing-scope.ts'
import { listModels, retrieveModel } from './endpoint/public/models.ts'
import { receiptKeys } from './endpoint/public/receipt-keys.ts'
import { listUsage, retrieveUsage } from './endpoint/public/usage.ts'
import type { App, Call } from './env.ts'
import { ApiError, errorResponse } from './error.ts'
import { anybody, key, node, operator, stripe } from './guard.ts'
import { refuseFlood, refuseForgeries, refuseGuessing, rememberKey, rememberNode } from './limits/sieve.ts'
import { saysNothingIsAt } from './nearest-path.ts'
import { type Route, route } from './route.ts'

/** Each path: who may come in, and what happens there by method. */
export const routes: Route[] = [
  // A generation decides its Idempotency-Key with the admission, in the same call.
  route('/v1/completions', key('generate'), { POST: completions }, { once_by: 'endpoint' }),
  route('/v1/chat/completions', key('generate'), { POST: chatCompletions }, { once_by: 'endpoint' }),
  route('/v1/models', key('generate'), { GET: listModels }),
  route('/v1/models/:id', key('generate'), { GET: retrieveModel }),
  route('/v1/usage', key('usage'), { GET: listUsage }),
  route('/v1/usage/:request_id', key('usage'), { GET: retrieveUsage }),
  route('/v1/balance', key('usage'), { GET: balance }),
  route('/v1/account', key('usage'), { GET: ownAccount }),
  route('/v1/keys', key('keys'), { GET: ownKeys.list, POST: ownKeys.create }),
  // It is the same however often, and for keys that may do nothing else.
  route('/v1/keys/leak', key(null), { POST: leakKey }, { once_by: 'nature' }),
  route('/v1/keys/:id', key('keys'), { GET: ownKeys.retrieve, PATCH: ownKeys.update, DELETE: ownKeys.revoke }),
  route('/v1/keys/:id/rotate', key('keys', { open_to_itself: true }), { POST: ownKeys.rotate }),
  route('/v1/billing', key('usage'), { GET: ownBilling }),
  route('/v1/entries', key('usage'), { GET: listEntries }),
  route('/v1/invoices', key('usage'), { GET: ownInvoices.list }),
  route('/v1/invoices/:id', key('usage'), { GET: ownInvoices.retrieve }),
  route('/v1/top-ups/checkout', key('admin'), { POST: createCheckoutSession }),
  route('/healthz', anybody, { GET: health }),
  route('/healthz/ledger', anybody, { GET: ledgerHealthz }),
  route('/.well-known/receipt-keys.json', anybody, { GET: receiptKeys }),
  route('/openapi.json', anybody, { GET: documentOf(() => routes) }),
  route('/metrics', operator, { GET: metrics }),
  route('/internal/sync', node, { POST: internalSync }, { once_by: 'nature' }), // settled once whatever a node repeats
  route('/stripe/webhook', stripe, { POST: stripeWebhook }, { once_by: 'nature' }), // booked once by the event's id
  route('/admin/accounts', operator, { GET: listAccounts, POST: createAccount }),
  route('/admin/accounts/:id', operator, { GET: retrieveAccount, PATCH: updateAccount }),
  route('/admin/accounts/:id/billing', operator, { GET: retrieveBilling, PATCH: updateBilling }),
  route('/admin/invoices', operator, { GET: operatorsInvoices.list }),
  route('/admin/invoices/:id', operator, { GET: operatorsInvoices.retrieve }),
  route('/admin/keys', operator, { GET: operatorsKeys.list, POST: operatorsKeys.create }),
  route('/admin/keys/:id', operator, {
    GET: operatorsKeys.retrieve,
    PATCH: operatorsKeys.update,
    DELETE: operatorsKeys.revoke,
  }),
  route('/admin/keys/:id/rotate', operator, { POST: operatorsKeys.rotate }),
  route('/admin/top-ups', operator, { POST: createTopUp }),
  route('/admin/grants', operator, { POST: createGrant }),
  route('/admin/refunds', operator, { POST: createRefund }),
  route('/admin/adjustments', operator, { POST: createAdjustment }),
  route('/admin/entries', operator, { GET: listAccountEntries }),
  route('/admin/prices', operator, { GET: listPrices, POST: publishPrice }),
  route('/admin/usage', operator, { GET: reportAccountUsage }),
  route('/admin/usage/:request_id', operator, { GET: retrieveAnyUsage }),
  route('/admin/reconcile', operator, { GET: reconcileNow }),
  route('/admin/anomalies', operator, { GET: listAnomalies }),
]

const SHOWN_TO_PAGES = [
  'x-request-id',
  'x-ignored-parameters',
  'openai-processing-ms',
  'idempotency-replayed',
  'retry-after',
  'retry-after-ms',
  'x-should-retry',
  ...['limit', 'remaining', 'reset'].flatMap((what) => ['requests', 'tokens'].map((of) => `x-ratelimit-${what}-${of}`)),
]

export const app = new Hono<App>()

app.use(async (c, next) => {
  const request_id = crypto.randomUUID()
  c.set('request_id', request_id)
  c.set('started_ms', Date.now())
  c.set('operation', { id: request_id, seed: null })
  c.set('address', clientAddress(c.req.raw))
  c.set('key_hash', null)
  c.set('headers', {})
  c.set('body', null)
  await next()
  const { headers } = c.res
  for (const [name, value] of Object.entries(c.get('headers'))) headers.set(name, value)
  headers.set('x-request-id', c.get('request_id'))
})

// A page of any origin may ask with a key that it was given; its refusals are told too. No cookie is read, so none can be misused.
// Which headers a client sends changes with its releases: those that a browser asks for are allowed.
app.use(
  '/v1/*',
  cors({
    origin: '*',
    allowMethods: ['GET', 'HEAD', 'POST', 'PATCH', 'DELETE'],
    exposeHeaders: SHOWN_TO_PAGES,
    maxAge: 86_400,
  }),
)

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

for (const declared of routes) serve(declared)

const paths = routes.map(({ path }) => path)

app.notFound((c) => errorResponse(new ApiError('not_found', { message: saysNothingIsAt(c.req.path, paths) })))

app.onError((error, c) => {
  if (error instanceof ApiError) return errorResponse(error)
  console.error(`${c.var.request_id} ${c.req.method} ${c.req.path}:`, error)
  return errorResponse(new ApiError('internal_error'))
})

function serve({ path, scope, methods }: Route): void {
  for (const { method, carry } of methods)
    app.on(method, path, (c) =>
      toItsEnd(
        c,
        namingScopes(c, scope, () => carry(c)),
      ),
    )
  const allow = methods.flatMap(({ method }) => (method === 'GET' ? ['GET', 'HEAD'] : [method])).join(', ')
  app.all(path, () => {
    throw new ApiError('method_not_allowed', { headers: { allow } })
  })
}

// When a client leaves, the runtime drops what was begun for it. What holds money is brought to its end all the same.
function toItsEnd(c: Call, work: Promise<Response>): Promise<Response> {
  c.executionCtx.waitUntil(work.catch(() => {}))
  return work
}
