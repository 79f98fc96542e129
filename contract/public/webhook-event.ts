// Events: what an account is told of. One more type is one more line here, and an `emit` where it happens (migrations/ledger/events.sql).

import * as z from 'zod'

export const eventType = z.enum([
  'account.resumed',
  'account.suspended',
  'balance.low',
  'balance.topped_up',
  'batch.cancelled',
  'batch.completed',
  'batch.expired',
  'batch.failed',
  'invoice.closed',
  'key.created',
  'key.expiring',
  'key.leaked',
  'key.revoked',
  'price.announced',
  'response.cancelled',
  'response.completed',
  'response.failed',
  'response.incomplete',
  'spend_cap.reached',
  'webhook_endpoint.disabled',
])

/** What is sent, and listed: each event's data has the id of what it is about. */
export const event = z.strictObject({
  object: z.literal('event'),
  id: z.string().regex(/^evt_[1-9]\d*$/),
  type: eventType,
  created_at: z.int(), // unix seconds
  data: z.looseObject({ id: z.string() }),
})

export type EventType = z.infer<typeof eventType>
export type Event = z.infer<typeof event>
