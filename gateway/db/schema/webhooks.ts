// Endpoints of webhooks, and events on their way to them.

import { boolean, integer, jsonb, pgTable, text, unique, uuid } from 'drizzle-orm/pg-core'
import { accounts } from './accounts.ts'
import { bytea, int8, moment, numberedId, writtenAt } from './column.ts'

export const webhookEndpoints = pgTable('webhook_endpoints', {
  id: numberedId(),
  account_id: int8()
    .notNull()
    .references(() => accounts.id),
  created_by: uuid().notNull().unique(), // the request that made it
  kind: text({ enum: ['webhook', 'email'] })
    .notNull()
    .default('webhook'),
  name: text().notNull(),
  url: text().notNull(),
  event_types: text().array().notNull(),
  signature_type: text({ enum: ['hmac', 'ed25519'] })
    .notNull()
    .default('hmac'),
  secret: bytea(), // sealed
  hint: text(),
  public_key: text(),
  sealed_by: text(), // which secret of the deployment sealed it
  old_secret: bytea(),
  both_until: moment(),
  rotated_by: uuid(),
  created_at: writtenAt(),
  updated_at: writtenAt(),
  disabled_at: moment(),
  disabled_reason: text({ enum: ['gone', 'failing', 'requested'] }),
  failing_since: moment(),
  is_slow: boolean().notNull().default(false),
  resting_until: moment(),
  lease: uuid(),
  leased_until: moment(),
})

export const webhookDeliveries = pgTable(
  'webhook_deliveries',
  {
    id: numberedId(),
    account_id: int8().notNull(),
    endpoint_id: int8().notNull(),
    event_id: int8().notNull(),
    state: text({ enum: ['pending', 'delivered', 'failed'] })
      .notNull()
      .default('pending'),
    due_at: moment().notNull(),
    tries: integer().notNull().default(0), // of the schedule
    attempts: jsonb().notNull().default([]), // the last of them
    answer: text(), // to the last attempt
    created_at: writtenAt(),
  },
  (table) => [unique().on(table.event_id, table.endpoint_id)],
)
