// Endpoints of an account, what is sent to one of them, and the events of the account.

import { and, asc, desc, eq, gt, lt } from 'drizzle-orm'
import type { EventType } from '../../../contract/public/webhook-event.ts'
import {
  webhookDeliveriesView as deliveries,
  webhookEndpointsView as endpoints,
  eventsView as events,
} from '../schema/read.ts'
import type { Page, ReadDb } from './read-db.ts'

export function listWebhookEndpoints(db: ReadDb, { account_id, limit, after }: Page & { account_id: string }) {
  const before = after === undefined ? undefined : lt(endpoints.id, BigInt(after))
  return db
    .select()
    .from(endpoints)
    .where(and(eq(endpoints.account_id, BigInt(account_id)), before))
    .orderBy(desc(endpoints.id))
    .limit(limit + 1)
}

interface OfEndpoint extends Page {
  account_id: string
  endpoint_id: string
  state?: 'pending' | 'delivered' | 'failed' | undefined
}

export function listWebhookDeliveries(db: ReadDb, { account_id, endpoint_id, state, limit, after }: OfEndpoint) {
  return db
    .select()
    .from(deliveries)
    .where(
      and(
        eq(deliveries.account_id, BigInt(account_id)),
        eq(deliveries.endpoint_id, BigInt(endpoint_id)),
        state === undefined ? undefined : eq(deliveries.state, state),
        after === undefined ? undefined : lt(deliveries.id, BigInt(after)),
      ),
    )
    .orderBy(desc(deliveries.id))
    .limit(limit + 1)
}

interface OfAccount extends Page {
  account_id: string
  type?: EventType | undefined
  /** By default the newest first. */
  order: 'asc' | 'desc'
}

export function listEvents(db: ReadDb, { account_id, type, order, limit, after }: OfAccount) {
  const [direction, beyond] = order === 'asc' ? [asc, gt] : [desc, lt]
  return db
    .select()
    .from(events)
    .where(
      and(
        eq(events.account_id, BigInt(account_id)),
        type === undefined ? undefined : eq(events.type, type),
        after === undefined ? undefined : beyond(events.id, BigInt(after)),
      ),
    )
    .orderBy(direction(events.id))
    .limit(limit + 1)
}
