// /v1/webhook_endpoints: where an account's events are sent, at the paths and in the form that OpenAI's clients manage them by. A secret is
// shown in the answer that made it and never again.

import * as z from 'zod'
import * as pages from '../../../contract/public/page.ts'
import * as shown from '../../../contract/public/webhook.ts'
import { eventType } from '../../../contract/public/webhook-event.ts'
import type { Caller } from '../../auth/authenticate.ts'
import { obtain } from '../../db/ask.ts'
import type { Answer } from '../../db/functions.ts'
import { Meter } from '../../db/meter.ts'
import { accountOf, rowsOf } from '../../db/query.ts'
import { endpoint } from '../../endpoint.ts'
import { type Call, settingsOf } from '../../env.ts'
import { ApiError } from '../../error.ts'
import { endpointId, pathId } from '../../field/id.ts'
import { name } from '../../field/name.ts'
import { pageOf, pageQuery } from '../../field/page.ts'
import { publicRow } from '../../field/public-row.ts'
import { readQuery } from '../../field/query.ts'
import { readBody } from '../../field/read-body.ts'
import { attempt } from '../../webhook/attempt.ts'
import { newSecret, opened } from '../../webhook/secret.ts'
import { readTarget } from '../../webhook/target.ts'

type Kept = Extract<Answer<'read_webhook_endpoint'>, { decision: 'allowed' }>['endpoint']

const fields = {
  name,
  url: z.string(),
  event_types: z
    .array(eventType)
    .min(1)
    .max(100)
    .transform((types) => [...new Set(types)]),
}
const creation = z.strictObject({ ...fields, secret_type: shown.secretType.default('hmac') })
const change = z.strictObject({ ...fields, status: z.enum(['enabled', 'disabled']) }).partial()
const rotation = z.strictObject({ keep_old_secret_active_for_24_hours: z.boolean().nullish() })
const testing = z.strictObject({ event_type: eventType })
const query = pageQuery({ after: endpointId.optional() })

export const createWebhookEndpoint = endpoint(
  {
    says: 'Makes an endpoint that events are sent to. Its secret is shown in this answer and never again.',
    body: creation,
    answer: shown.webhookEndpointWithSecret,
  },
  async (c, caller: Caller) => {
    const { secret_type, ...given } = await readBody(c, creation)
    const { shown: signing_secret, stored } = await newSecret(c.env, secret_type, c.var.operation.seed)
    const url = target(c, given.url)
    const item = { ...caller, ...given, url, signature_type: secret_type, created_by: c.var.operation.id, ...stored }
    const made = await obtain(c.env, 'create_webhook_endpoint', item, 'created')
    return c.json({ ...publicEndpoint(made.endpoint), signing_secret })
  },
)

export const listWebhookEndpoints = endpoint(
  {
    says: 'Lists the endpoints, the newest first.',
    query,
    answer: pages.pageOf(shown.webhookEndpoint).extend({ first_id: z.string().nullable() }),
  },
  async (c, caller: Caller) => {
    const page = readQuery(c, query)
    const account_id = await accountOf(c.env, { ...caller, scope: 'webhooks' })
    const rows = await rowsOf(c.env, 'list_webhook_endpoints', { ...page, account_id })
    const data = rows.map((row) => publicEndpoint(publicRow(row)))
    return c.json({ ...pageOf(data, page.limit, ({ id }) => id), first_id: data[0]?.id ?? null })
  },
)

export const retrieveWebhookEndpoint = endpoint(
  { says: 'Shows an endpoint.', answer: shown.webhookEndpoint },
  async (c, caller: Caller) => {
    const item = { ...caller, endpoint_id: named(c) }
    return c.json(publicEndpoint((await obtain(c.env, 'read_webhook_endpoint', item, 'allowed')).endpoint))
  },
)

export const updateWebhookEndpoint = endpoint(
  {
    says: 'Changes what is given of an endpoint. One that was disabled is enabled again by its status, and gets what waited for it.',
    body: change,
    answer: shown.webhookEndpoint,
  },
  async (c, caller: Caller) => {
    const given = await readBody(c, change)
    const fields = { ...given, ...(given.url !== undefined && { url: target(c, given.url) }) }
    const item = { ...caller, endpoint_id: named(c), fields }
    return c.json(publicEndpoint((await obtain(c.env, 'update_webhook_endpoint', item, 'allowed')).endpoint))
  },
)

export const deleteWebhookEndpoint = endpoint(
  { says: 'Deletes an endpoint, and what waits for it.', answer: shown.deletedWebhookEndpoint },
  async (c, caller: Caller) => {
    const endpoint_id = named(c)
    await obtain(c.env, 'delete_webhook_endpoint', { ...caller, endpoint_id }, 'deleted')
    return c.json({ object: 'webhook_endpoint.deleted', id: `whe_${endpoint_id}`, deleted: true })
  },
)

export const rotateWebhookSecret = endpoint(
  {
    says: 'Makes a new secret. The old one ends at once, or signs beside it for 24 hours.',
    body: rotation,
    answer: shown.webhookEndpointWithSecret,
  },
  async (c, caller: Caller) => {
    const { keep_old_secret_active_for_24_hours } = await readBody(c, rotation)
    const asked = { ...caller, endpoint_id: named(c) }
    const { endpoint: before } = await obtain(c.env, 'read_webhook_endpoint', asked, 'allowed')
    const { shown: signing_secret, stored } = await newSecret(c.env, before.signature_type, c.var.operation.seed)
    const keeps_old = keep_old_secret_active_for_24_hours ?? false
    const item = { ...asked, rotated_by: c.var.operation.id, keeps_old, ...stored }
    const { endpoint: after } = await obtain(c.env, 'rotate_webhook_secret', item, 'rotated')
    return c.json({ ...publicEndpoint(after), signing_secret })
  },
)

const tests = new Meter(60) // a minute, of one key: each holds a connection for as long as an endpoint likes

export const testWebhookEndpoint = endpoint(
  {
    says: 'Sends a sample of an event, once and now, and tells the status that it was answered with.',
    body: testing,
    answer: shown.webhookTest,
  },
  async (c, caller: Caller) => {
    const { event_type } = await readBody(c, testing)
    const endpoint_id = named(c)
    if (!tests.take(caller.key_hash, 1)) throw new ApiError('rate_limit_requests')
    const asked = { ...caller, endpoint_id, with_secrets: true as const }
    const { endpoint: tested, secrets = [] } = await obtain(c.env, 'read_webhook_endpoint', asked, 'allowed')
    const open = await Promise.all(secrets.map((secret) => opened(c.env, secret)))
    if (!open.every((secret) => secret !== null)) throw new ApiError('webhook_secret_lost')
    const id = `evt_test_${c.var.operation.id.replaceAll('-', '')}`
    const body = JSON.stringify({
      ...{ id, object: 'event', type: event_type, created_at: Math.floor(Date.now() / 1000) },
      data: { id: 'test' },
    })
    const { status } = await attempt(c.env, tested.url, { id, body }, open)
    if (status === null) throw new ApiError('webhook_unreachable')
    return c.json({
      ...{ object: 'webhook_endpoint.test', webhook_endpoint_id: `whe_${endpoint_id}` },
      ...{ event_type, status_code: status, success: true },
    })
  },
)

export const listWebhookEventTypes = endpoint(
  {
    says: 'Lists the types of events.',
    answer: z.strictObject({ object: z.literal('list'), data: z.array(eventType) }),
  },
  async (c, caller: Caller) => {
    await accountOf(c.env, { ...caller, scope: 'webhooks' })
    return c.json({ object: 'list', data: eventType.options })
  },
)

function named(c: Call): string {
  return pathId(c, 'id', endpointId)
}

/** The URL as it is kept, or the refusal of one that nothing is sent to. */
function target(c: Call, url: string): string {
  const read = readTarget(url, { allowed: settingsOf(c.env).webhooks.allowed, own_host: new URL(c.req.url).host })
  if ('url' in read) return read.url
  throw new ApiError('url_not_allowed', {
    param: 'url',
    message: `Webhooks cannot be sent to this URL: ${read.error}.`,
  })
}

export function publicEndpoint(kept: Kept): shown.WebhookEndpoint {
  const { id, name, url, event_types, signature_type, hint, public_key, disabled_at, disabled_reason } = kept
  return {
    object: 'webhook_endpoint',
    ...{ id: `whe_${id}`, name, url, event_types, secret_type: signature_type, public_key, disabled_reason },
    created_at: unixSeconds(kept.created_at),
    updated_at: unixSeconds(kept.updated_at),
    signing_secret_hint: hint,
    old_secret_active_until: unixSeconds(kept.both_until),
    status: disabled_at ? 'disabled' : 'enabled',
    disabled_at: unixSeconds(disabled_at),
    failing_since: unixSeconds(kept.failing_since),
  }
}

function unixSeconds<M extends string | null>(moment: M): M extends string ? number : null
function unixSeconds(moment: string | null): number | null {
  return moment === null ? null : Math.floor(Date.parse(moment) / 1000)
}
