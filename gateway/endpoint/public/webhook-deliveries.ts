// What was sent to a webhook endpoint, and what is still to be sent; one is sent again, and so is what the endpoint has missed.

import * as z from 'zod'
import * as pages from '../../../contract/public/page.ts'
import * as shown from '../../../contract/public/webhook.ts'
import type { Event } from '../../../contract/public/webhook-event.ts'
import type { Caller } from '../../auth/authenticate.ts'
import { obtain } from '../../db/ask.ts'
import type { QueryRow } from '../../db/queries.ts'
import { accountOf, rowsOf } from '../../db/query.ts'
import { endpoint } from '../../endpoint.ts'
import { deliveryId, endpointId, pathId } from '../../field/id.ts'
import { pageOf, pageQuery } from '../../field/page.ts'
import { readQuery } from '../../field/query.ts'
import { readBody } from '../../field/read-body.ts'

const query = pageQuery({
  after: deliveryId.optional(),
  state: z.enum(['pending', 'delivered', 'failed']).optional(),
})
const UNIX_S_MAX = 253_402_300_799 // the end of the year 9999
const recovery = z.strictObject({
  since: z.int().min(0).max(UNIX_S_MAX),
  limit: z.int().min(1).max(1000).default(1000),
})

export const listWebhookDeliveries = endpoint(
  {
    says: 'Lists what was and will be sent to an endpoint, the newest first, with what it answered.',
    query,
    answer: pages.pageOf(shown.webhookDelivery),
  },
  async (c, caller: Caller) => {
    const page = { ...readQuery(c, query), endpoint_id: pathId(c, 'id', endpointId) }
    await obtain(c.env, 'read_webhook_endpoint', { ...caller, endpoint_id: page.endpoint_id }, 'allowed')
    const account_id = await accountOf(c.env, { ...caller, scope: 'webhooks' })
    const rows = await rowsOf(c.env, 'list_webhook_deliveries', { ...page, account_id })
    return c.json(pageOf(rows.map(publicDelivery), page.limit, ({ id }) => id))
  },
)

export const resendWebhookDelivery = endpoint(
  { says: 'Sends an event to an endpoint again.', answer: shown.resent },
  async (c, caller: Caller) => {
    const [endpoint_id, delivery_id] = [pathId(c, 'id', endpointId), pathId(c, 'delivery_id', deliveryId)]
    await obtain(c.env, 'resend_webhook_delivery', { ...caller, endpoint_id, delivery_id }, 'resent')
    return c.json({ object: 'webhook_delivery', id: `whd_${delivery_id}`, state: 'pending' })
  },
)

export const recoverWebhookDeliveries = endpoint(
  {
    says: 'Sends what an endpoint has missed since a moment (unix seconds): what failed, and what happened while it was disabled or not there.',
    body: recovery,
    answer: shown.recovery,
  },
  async (c, caller: Caller) => {
    const { since, limit } = await readBody(c, recovery)
    const item = { endpoint_id: pathId(c, 'id', endpointId), since: new Date(1000 * since).toISOString(), limit }
    const { count, has_more } = await obtain(c.env, 'recover_webhook_deliveries', { ...caller, ...item }, 'recovered')
    return c.json({ object: 'webhook_endpoint.recovery', deliveries: count, has_more })
  },
)

function publicDelivery(row: QueryRow<'list_webhook_deliveries'>): shown.WebhookDelivery {
  return {
    object: 'webhook_delivery',
    id: `whd_${row.id}`,
    webhook_endpoint_id: `whe_${row.endpoint_id}`,
    event: JSON.parse(row.event) as Event,
    state: row.state,
    next_attempt_at: row.due_at && unixSeconds(row.due_at),
    attempts: row.attempts,
    answer: row.answer,
    created_at: unixSeconds(row.created_at),
  }
}

function unixSeconds(moment: Date): number {
  return Math.floor(moment.getTime() / 1000)
}
