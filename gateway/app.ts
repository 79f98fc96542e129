// Every guard and endpoint in order: the table of contents. What a request goes through stands in the endpoint it reaches.

import { Hono } from 'hono'
import { cors } from 'hono/cors'
import { authenticate, givenHash } from './auth/authenticate.ts'
import { clientAddress } from './auth/client-address.ts'
import { lookSoon } from './catalog/in-force.ts'
import { reportJob, reportJobs, takeJobs } from './endpoint/internal/jobs.ts'
import { stripeWebhook } from './endpoint/internal/stripe-webhook.ts'
import { internalSync } from './endpoint/internal/sync.ts'
import {
  createAccount,
  listAccounts,
  resumeAccount,
  retrieveAccount,
  suspendAccount,
  updateAccount,
} from './endpoint/operator/accounts.ts'
import { operatorsAdapters } from './endpoint/operator/adapters.ts'
import { listAnomalies } from './endpoint/operator/anomalies.ts'
import { listAudit } from './endpoint/operator/audit.ts'
import { retrieveBilling, updateBilling } from './endpoint/operator/billing.ts'
import { publishCatalog, retrieveCatalog } from './endpoint/operator/catalog.ts'
import { operatorsCreditNotes } from './endpoint/operator/credit-notes.ts'
import { createAdjustment, createGrant, createRefund, listAccountEntries } from './endpoint/operator/entries.ts'
import { operatorsInvoices } from './endpoint/operator/invoices.ts'
import { operatorsKeys } from './endpoint/operator/keys.ts'
import { operatorsNodes } from './endpoint/operator/nodes.ts'
import { retrieveNotifications, updateNotifications } from './endpoint/operator/notifications.ts'
import {
  createOperatorKey,
  listOperatorKeys,
  revokeOperatorKey,
  rotateOperatorKey,
  rotateOwnKey,
} from './endpoint/operator/operator-keys.ts'
import {
  askingOperator,
  createOperator,
  endOperator,
  listOperators,
  updateOperator,
} from './endpoint/operator/operators.ts'
import { retrieveBuyer, retrieveSeller, updateBuyer, updateSeller } from './endpoint/operator/parties.ts'
import { listPrices, publishPrice } from './endpoint/operator/prices.ts'
import { metrics, reconcileNow } from './endpoint/operator/reconcile.ts'
import { createTopUp } from './endpoint/operator/top-ups.ts'
import { reportAccountUsage, retrieveAnyUsage } from './endpoint/operator/usage.ts'
import { ownAccount } from './endpoint/public/account.ts'
import { balance } from './endpoint/public/balance.ts'
import { advanceSoon } from './endpoint/public/batch-steps.ts'
import { cancelBatch, createBatch, listBatches, retrieveBatch } from './endpoint/public/batches.ts'
import { ownBilling } from './endpoint/public/billing.ts'
import { chatCompletions } from './endpoint/public/chat-completions.ts'
import { createCheckoutSession } from './endpoint/public/checkout.ts'
import { completions } from './endpoint/public/completions.ts'
import { ownCreditNotes } from './endpoint/public/credit-notes.ts'
import { document, reference, referenceScript, scalarScript } from './endpoint/public/document.ts'
import { listEntries } from './endpoint/public/entries.ts'
import { estimate } from './endpoint/public/estimate.ts'
import { listEvents } from './endpoint/public/events.ts'
import { createFile, deleteFile, listFiles, readFileContent, retrieveFile } from './endpoint/public/files.ts'
import { health, ledgerHealthz, live } from './endpoint/public/health.ts'
import { ownInvoices } from './endpoint/public/invoices.ts'
import { leakKey, ownKeys } from './endpoint/public/keys.ts'
import { countMessageTokens, createMessage } from './endpoint/public/messages.ts'
import { namingScopes } from './endpoint/public/missing-scope.ts'
import { listModels, retrieveModel } from './endpoint/public/models.ts'
import { receiptKeys } from './endpoint/public/receipt-keys.ts'
import { countInputTokens, createResponse } from './endpoint/public/responses.ts'
import { rerank, score } from './endpoint/public/score.ts'
import { deleteChat, listChatMessages, listChats, retrieveChat, updateChat } from './endpoint/public/stored-chats.ts'
import { cancelResponse, deleteResponse, listInputItems, retrieveResponse } from './endpoint/public/stored-responses.ts'
import { ticketKeys } from './endpoint/public/ticket-keys.ts'
import { detokenize, tokenize } from './endpoint/public/tokens.ts'
import { listUsage, retrieveUsage } from './endpoint/public/usage.ts'
import {
  listWebhookDeliveries,
  recoverWebhookDeliveries,
  resendWebhookDelivery,
} from './endpoint/public/webhook-deliveries.ts'
import {
  createWebhookEndpoint,
  deleteWebhookEndpoint,
  listWebhookEndpoints,
  listWebhookEventTypes,
  retrieveWebhookEndpoint,
  rotateWebhookSecret,
  testWebhookEndpoint,
  updateWebhookEndpoint,
} from './endpoint/public/webhook-endpoints.ts'
import type { App, Call } from './env.ts'
import { ApiError, errorResponse, messageErrorResponse } from './error.ts'
import { beingAwaited } from './give-way.ts'
import { countGone } from './gone-clients.ts'
import { anybody, key, monitor, node, nodeWithJob, operator, stripe } from './guard.ts'
import { noteRefusal } from './limits/refusals.ts'
import {
  refuseFlood,
  refuseForgeries,
  refuseGuessing,
  refuseOperatorGuessing,
  rememberKey,
  rememberNode,
  rememberOperator,
} from './limits/sieve.ts'
import { saysNothingIsAt } from './nearest-path.ts'
import { needs, type Route, route } from './route.ts'
import { sendSoon } from './webhook/kick.ts'

/** Each path: who may come in, and what happens there by method. */
export const routes: Route[] = [
  // A generation decides its Idempotency-Key with the admission, in the same call.
  route('/v1/completions', key('generate'), { POST: completions }, { once_by: 'endpoint' }),
  route('/v1/score', key('generate'), { POST: score }, { once_by: 'endpoint' }),
  route('/v1/rerank', key('generate'), { POST: rerank }, { once_by: 'endpoint' }),
  route('/v1/chat/completions', key('generate'), { GET: listChats, POST: chatCompletions }, { once_by: 'endpoint' }),
  route('/v1/chat/completions/:id', key('generate'), { GET: retrieveChat, POST: updateChat, DELETE: deleteChat }),
  route('/v1/chat/completions/:id/messages', key('generate'), { GET: listChatMessages }),
  route('/v1/messages', key('generate'), { POST: createMessage }, { once_by: 'endpoint' }),
  route('/v1/messages/count_tokens', key('generate'), { POST: countMessageTokens }, { once_by: 'nature' }),
  route('/v1/responses', key('generate'), { POST: createResponse }, { once_by: 'endpoint' }),
  // Its own path before those with an id.
  route('/v1/responses/input_tokens', key('generate'), { POST: countInputTokens }, { once_by: 'nature' }),
  route('/v1/responses/:id', key('generate'), { GET: retrieveResponse, DELETE: deleteResponse }),
  route('/v1/responses/:id/cancel', key('generate'), { POST: cancelResponse }, { once_by: 'nature', tells: true }),
  route('/v1/responses/:id/input_items', key('generate'), { GET: listInputItems }),
  // A form is not read twice, so an upload that is asked again is another file.
  route('/v1/files', key('generate'), { GET: listFiles, POST: createFile }, { once_by: 'nature' }),
  route('/v1/files/:id', key('generate'), { GET: retrieveFile, DELETE: deleteFile }),
  route('/v1/files/:id/content', key('generate'), { GET: readFileContent }),
  route('/v1/batches', key('generate'), { GET: listBatches, POST: createBatch }),
  route('/v1/batches/:id', key('generate'), { GET: retrieveBatch }),
  route('/v1/batches/:id/cancel', key('generate'), { POST: cancelBatch }),
  route('/v1/tokenize', key('generate'), { POST: tokenize }, { once_by: 'nature' }),
  route('/v1/detokenize', key('generate'), { POST: detokenize }, { once_by: 'nature' }),
  route('/v1/estimate', key('generate'), { POST: estimate }, { once_by: 'nature' }),
  route('/v1/models', key('generate'), { GET: listModels }),
  route('/v1/models/:id', key('generate'), { GET: retrieveModel }),
  route('/v1/usage', key('usage'), { GET: listUsage }),
  route('/v1/usage/:request_id', key('usage'), { GET: retrieveUsage }),
  route('/v1/balance', key('usage'), { GET: balance }),
  route('/v1/account', key('usage'), { GET: ownAccount }),
  route('/v1/keys', key('keys'), { GET: ownKeys.list, POST: ownKeys.create }, { tells: true }),
  // It is the same however often, and for keys that may do nothing else.
  route('/v1/keys/leak', key(null), { POST: leakKey }, { once_by: 'nature', tells: true }),
  route(
    '/v1/keys/:id',
    key('keys'),
    { GET: ownKeys.retrieve, PATCH: ownKeys.update, DELETE: ownKeys.revoke },
    { tells: true },
  ),
  route('/v1/keys/:id/rotate', key('keys', { open_to_itself: true }), { POST: ownKeys.rotate }, { tells: true }),
  route('/v1/billing', key('usage'), { GET: ownBilling }),
  route('/v1/entries', key('usage'), { GET: listEntries }),
  route('/v1/invoices', key('usage'), { GET: ownInvoices.list }),
  route('/v1/invoices/:id', key('usage'), { GET: ownInvoices.retrieve }),
  route('/v1/credit-notes', key('usage'), { GET: ownCreditNotes.list }),
  route('/v1/credit-notes/:id', key('usage'), { GET: ownCreditNotes.retrieve }),
  route('/v1/top-ups/checkout', key('admin'), { POST: createCheckoutSession }),
  route('/v1/webhook_endpoints', key('webhooks'), { GET: listWebhookEndpoints, POST: createWebhookEndpoint }),
  route(
    '/v1/webhook_endpoints/:id',
    key('webhooks'),
    { GET: retrieveWebhookEndpoint, POST: updateWebhookEndpoint, DELETE: deleteWebhookEndpoint },
    { tells: true },
  ),
  route('/v1/webhook_endpoints/:id/rotate_secret', key('webhooks'), { POST: rotateWebhookSecret }),
  route('/v1/webhook_endpoints/:id/test', key('webhooks'), { POST: testWebhookEndpoint }),
  route('/v1/webhook_endpoints/:id/deliveries', key('webhooks'), { GET: listWebhookDeliveries }),
  route(
    '/v1/webhook_endpoints/:id/deliveries/:delivery_id/resend',
    key('webhooks'),
    { POST: resendWebhookDelivery },
    { tells: true },
  ),
  route('/v1/webhook_endpoints/:id/recover', key('webhooks'), { POST: recoverWebhookDeliveries }, { tells: true }),
  route('/v1/events', key('webhooks'), { GET: listEvents }),
  route('/v1/webhook_event_types', key('webhooks'), { GET: listWebhookEventTypes }),
  route('/livez', anybody, { GET: live }),
  route('/readyz', anybody, { GET: health }),
  route('/healthz', anybody, { GET: health }),
  route('/healthz/ledger', anybody, { GET: ledgerHealthz }),
  route('/.well-known/receipt-keys.json', anybody, { GET: receiptKeys }),
  route('/.well-known/ticket-keys.json', anybody, { GET: ticketKeys }),
  route('/openapi.json', anybody, { GET: document }),
  route('/docs', anybody, { GET: reference }),
  route('/docs/reference.js', anybody, { GET: referenceScript }),
  route('/docs/scalar.js', anybody, { GET: scalarScript }),
  route('/metrics', monitor, { GET: metrics }),
  route('/internal/sync', node, { POST: internalSync }, { once_by: 'nature' }), // settled once whatever a node repeats
  route('/internal/jobs/take', node, { POST: takeJobs }, { once_by: 'nature' }), // the same for the same take
  route('/internal/jobs/report', nodeWithJob, { POST: reportJob }, { once_by: 'nature' }),
  route('/internal/jobs/reports', nodeWithJob, { POST: reportJobs }, { once_by: 'nature' }),
  route('/stripe/webhook', stripe, { POST: stripeWebhook }, { once_by: 'nature', tells: true }), // booked once by the event's id
  route('/admin/me', operator, { GET: needs('read', askingOperator) }),
  route('/admin/me/rotate', operator, { POST: needs('read', rotateOwnKey) }),
  route('/admin/operators', operator, { GET: needs('read', listOperators), POST: needs('owner', createOperator) }),
  route('/admin/operators/:id', operator, {
    PATCH: needs('owner', updateOperator),
    DELETE: needs('owner', endOperator),
  }),
  route('/admin/operator-keys', operator, {
    GET: needs('owner', listOperatorKeys),
    POST: needs('owner', createOperatorKey),
  }),
  route('/admin/operator-keys/:id', operator, { DELETE: needs('owner', revokeOperatorKey) }),
  route('/admin/operator-keys/:id/rotate', operator, { POST: needs('owner', rotateOperatorKey) }),
  route('/admin/audit', operator, { GET: needs('read', listAudit) }),
  route('/admin/accounts', operator, { GET: needs('read', listAccounts), POST: needs('support', createAccount) }),
  route('/admin/accounts/:id', operator, {
    GET: needs('read', retrieveAccount),
    PATCH: needs('support', updateAccount),
  }),
  route('/admin/accounts/:id/suspend', operator, { POST: needs('support', suspendAccount) }, { tells: true }),
  route('/admin/accounts/:id/resume', operator, { POST: needs('support', resumeAccount) }, { tells: true }),
  route('/admin/accounts/:id/billing', operator, {
    GET: needs('read', retrieveBilling),
    PATCH: needs('finance', updateBilling),
  }),
  route('/admin/accounts/:id/buyer', operator, {
    GET: needs('read', retrieveBuyer),
    PATCH: needs('finance', updateBuyer),
  }),
  route('/admin/accounts/:id/notifications', operator, {
    GET: needs('read', retrieveNotifications),
    PATCH: needs('support', updateNotifications),
  }),
  route('/admin/seller', operator, { GET: needs('read', retrieveSeller), PATCH: needs('finance', updateSeller) }),
  route('/admin/invoices', operator, { GET: needs('read', operatorsInvoices.list) }),
  route('/admin/invoices/:id', operator, { GET: needs('read', operatorsInvoices.retrieve) }),
  route('/admin/credit-notes', operator, { GET: needs('read', operatorsCreditNotes.list) }),
  route('/admin/credit-notes/:id', operator, { GET: needs('read', operatorsCreditNotes.retrieve) }),
  route(
    '/admin/keys',
    operator,
    { GET: needs('read', operatorsKeys.list), POST: needs('support', operatorsKeys.create) },
    { tells: true },
  ),
  route(
    '/admin/keys/:id',
    operator,
    {
      GET: needs('read', operatorsKeys.retrieve),
      PATCH: needs('support', operatorsKeys.update),
      DELETE: needs('support', operatorsKeys.revoke),
    },
    { tells: true },
  ),
  route('/admin/keys/:id/rotate', operator, { POST: needs('support', operatorsKeys.rotate) }, { tells: true }),
  route('/admin/nodes', operator, {
    GET: needs('read', operatorsNodes.list),
    POST: needs('owner', operatorsNodes.create),
  }),
  route('/admin/nodes/:id', operator, {
    GET: needs('read', operatorsNodes.retrieve),
    PATCH: needs('owner', operatorsNodes.update),
    DELETE: needs('owner', operatorsNodes.remove),
  }),
  route('/admin/nodes/:id/rotate', operator, { POST: needs('owner', operatorsNodes.rotate) }),
  route('/admin/adapters', operator, {
    GET: needs('read', operatorsAdapters.list),
    POST: needs('owner', operatorsAdapters.create),
  }),
  route('/admin/adapters/:id', operator, { DELETE: needs('owner', operatorsAdapters.remove) }),
  route('/admin/top-ups', operator, { POST: needs('finance', createTopUp) }, { tells: true }),
  route('/admin/grants', operator, { POST: needs('finance', createGrant) }),
  route('/admin/refunds', operator, { POST: needs('finance', createRefund) }),
  route('/admin/adjustments', operator, { POST: needs('finance', createAdjustment) }, { tells: true }),
  route('/admin/entries', operator, { GET: needs('read', listAccountEntries) }),
  route(
    '/admin/prices',
    operator,
    { GET: needs('read', listPrices), POST: needs('finance', publishPrice) },
    { tells: true },
  ),
  route(
    '/admin/catalog',
    operator,
    { GET: needs('read', retrieveCatalog), POST: needs('owner', publishCatalog) },
    { once_by: 'nature', tells: true },
  ),
  route('/admin/usage', operator, { GET: needs('read', reportAccountUsage) }),
  route('/admin/usage/:request_id', operator, { GET: needs('read', retrieveAnyUsage) }),
  route('/admin/reconcile', operator, { GET: needs('support', reconcileNow) }),
  route('/admin/anomalies', operator, { GET: needs('read', listAnomalies) }),
]

const CLIENT_GONE = 499
const SHOWN_TO_PAGES = [
  'x-request-id',
  'request-id',
  'x-ignored-parameters',
  'x-served-model',
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
  c.set('role', null)
  c.set('headers', {})
  c.set('body', null)
  await next()
  if (c.res.status === CLIENT_GONE) countGone()
  const { headers } = c.res
  for (const [name, value] of Object.entries(c.get('headers'))) headers.set(name, value)
  headers.set('x-request-id', c.get('request_id'))
  if (isOfMessages(c.req.path)) headers.set('request-id', c.get('request_id'))
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
  advanceSoon(c) // nodes are heard all the time, and what they report brings batches on
  lookSoon(c) // so that a gateway that nobody asks has the catalog of now, too
})
app.use('/v1/*', async (c, next) => {
  await beingAwaited(async () => {
    await refuseGuessing(c, () => authenticate(c.req.raw))
    await next()
    await rememberKey(c)
  })
})

app.use('/admin/*', async (c, next) => {
  const key_hash = await givenHash(c.req.raw)
  refuseOperatorGuessing(c, key_hash)
  await next()
  await rememberOperator(c, key_hash)
})

for (const declared of routes) serve(declared)

const paths = routes.map(({ path }) => path)

app.notFound((c) => {
  noteRefusal(c, 'not_found')
  return refused(c, new ApiError('not_found', { message: saysNothingIsAt(c.req.path, paths) }))
})

app.onError((error, c) => {
  if (error instanceof ApiError) {
    noteRefusal(c, error.code)
    return refused(c, error)
  }
  if (c.req.raw.signal.aborted) return refused(c, new ApiError('client_gone')) // what it was for has nobody to be for
  console.error(`${c.var.request_id} ${c.req.method} ${c.req.path}:`, error)
  return refused(c, new ApiError('internal_error'))
})

/** In the form that the clients of this path read. */
function refused(c: Call, error: ApiError): Response {
  return isOfMessages(c.req.path) ? messageErrorResponse(error, c.get('request_id')) : errorResponse(error)
}

function isOfMessages(path: string): boolean {
  return /^\/v1\/messages(\/|$)/.test(path)
}

function serve({ path, scope, tells, methods }: Route): void {
  for (const { method, carry } of methods) {
    const carried = tells && method !== 'GET' ? (c: Call) => telling(c, carry(c)) : carry
    app.on(method, path, (c) =>
      toItsEnd(
        c,
        namingScopes(c, scope, () => carried(c)),
      ),
    )
  }
  const allow = methods.flatMap(({ method }) => (method === 'GET' ? ['GET', 'HEAD'] : [method])).join(', ')
  app.all(path, () => {
    throw new ApiError('method_not_allowed', { headers: { allow } })
  })
}

/** What it caused is sent when it is answered. */
async function telling(c: Call, work: Promise<Response>): Promise<Response> {
  const answer = await work
  if (answer.ok) sendSoon(c)
  return answer
}

// When a client leaves, the runtime drops what was begun for it. What holds money is brought to its end all the same.
function toItsEnd(c: Call, work: Promise<Response>): Promise<Response> {
  c.executionCtx.waitUntil(work.catch(() => {}))
  return work
}
