// Every guard and endpoint in order: the table of contents. What a request goes through stands in the endpoint it reaches.

import { Hono } from 'hono'
import { clientAddress } from './auth/client-address.ts'
import { createAccount, listAccounts, ownAccount, retrieveAccount, updateAccount } from './endpoint/admin-accounts.ts'
import { createTopUp } from './endpoint/admin-top-ups.ts'
import { balance } from './endpoint/balance.ts'
import { ownBilling, retrieveBilling, updateBilling } from './endpoint/billing.ts'
import { chatCompletions } from './endpoint/chat-completions.ts'
import { createCheckoutSession } from './endpoint/checkout.ts'
import { completions } from './endpoint/completions.ts'
import { health } from './endpoint/health.ts'
import { internalSync } from './endpoint/internal-sync.ts'
import { operatorsInvoices, ownInvoices } from './endpoint/invoices.ts'
import { leakKey, operatorsKeys, ownKeys } from './endpoint/keys.ts'
import { listModels, retrieveModel } from './endpoint/models.ts'
import { stripeWebhook } from './endpoint/stripe-webhook.ts'
import { listUsage, retrieveUsage } from './endpoint/usage.ts'
import type { App, Call } from './env.ts'
import { ApiError, errorResponse } from './error.ts'

type Handler = (c: Call) => Promise<Response>

export const app = new Hono<App>()

app.use(async (c, next) => {
  c.set('request_id', crypto.randomUUID())
  c.set('started_ms', Date.now())
  c.set('operation', { id: c.var.request_id, seed: null })
  c.set('address', clientAddress(c.req.raw))
  await next()
  c.res.headers.set('x-request-id', c.var.request_id)
})

endpoint('/v1/completions', { POST: completions })
endpoint('/v1/chat/completions', { POST: chatCompletions })
endpoint('/v1/models', { GET: listModels })
endpoint('/v1/models/:id', { GET: retrieveModel })
endpoint('/v1/usage', { GET: listUsage })
endpoint('/v1/usage/:request_id', { GET: retrieveUsage })
endpoint('/v1/balance', { GET: balance })
endpoint('/v1/account', { GET: ownAccount })
endpoint('/v1/keys', { GET: ownKeys.list, POST: ownKeys.create })
endpoint('/v1/keys/leak', { POST: leakKey })
endpoint('/v1/keys/:id', { GET: ownKeys.retrieve, PATCH: ownKeys.update, DELETE: ownKeys.revoke })
endpoint('/v1/keys/:id/rotate', { POST: ownKeys.rotate })
endpoint('/v1/billing', { GET: ownBilling })
endpoint('/v1/invoices', { GET: ownInvoices.list })
endpoint('/v1/invoices/:id', { GET: ownInvoices.retrieve })
endpoint('/v1/top-ups/checkout', { POST: createCheckoutSession })
endpoint('/healthz', { GET: health })
endpoint('/internal/sync', { POST: internalSync })
endpoint('/stripe/webhook', { POST: stripeWebhook })
endpoint('/admin/accounts', { GET: listAccounts, POST: createAccount })
endpoint('/admin/accounts/:id', { GET: retrieveAccount, PATCH: updateAccount })
endpoint('/admin/accounts/:id/billing', { GET: retrieveBilling, PATCH: updateBilling })
endpoint('/admin/invoices', { GET: operatorsInvoices.list })
endpoint('/admin/invoices/:id', { GET: operatorsInvoices.retrieve })
endpoint('/admin/keys', { GET: operatorsKeys.list, POST: operatorsKeys.create })
endpoint('/admin/keys/:id', { GET: operatorsKeys.retrieve, PATCH: operatorsKeys.update, DELETE: operatorsKeys.revoke })
endpoint('/admin/keys/:id/rotate', { POST: operatorsKeys.rotate })
endpoint('/admin/top-ups', { POST: createTopUp })

app.notFound(() => errorResponse(new ApiError('not_found')))

app.onError((error, c) => {
  if (error instanceof ApiError) return errorResponse(error)
  console.error(`${c.var.request_id} ${c.req.method} ${c.req.path}:`, error)
  return errorResponse(new ApiError('internal_error'))
})

function endpoint(path: string, methods: Record<string, Handler>): void {
  for (const [method, handler] of Object.entries(methods)) app.on(method, path, (c) => toItsEnd(c, handler(c)))
  const allow = Object.keys(methods)
    .flatMap((method) => (method === 'GET' ? ['GET', 'HEAD'] : [method]))
    .join(', ')
  app.all(path, () => {
    throw new ApiError('method_not_allowed', { headers: { allow } })
  })
}

// When a client leaves, the runtime drops what was begun for it. What holds money is brought to its end all the same.
function toItsEnd(c: Call, work: Promise<Response>): Promise<Response> {
  c.executionCtx.waitUntil(work.catch(() => {}))
  return work
}
