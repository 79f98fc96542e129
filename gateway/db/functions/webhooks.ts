// Endpoints of webhooks, as a key of the account asks about them; and deliveries, as the gateway sends them.

import * as z from 'zod'
import * as shownNotifications from '../../../contract/public/notifications.ts'
import { count, id, moment, uuid } from '../../../contract/public/scalar.ts'
import * as shown from '../../../contract/public/webhook.ts'
import { eventType } from '../../../contract/public/webhook-event.ts'
import { caller, keyRefusals, operator } from './asker.ts'

const endpoint = z.strictObject({
  id,
  name: z.string(),
  url: z.string(),
  event_types: z.array(eventType),
  signature_type: shown.secretType,
  hint: z.string().nullable(),
  public_key: z.string().nullable(),
  both_until: moment.nullable(),
  created_at: moment,
  updated_at: moment,
  disabled_at: moment.nullable(),
  disabled_reason: shown.disabledReason.nullable(),
  failing_since: moment.nullable(),
})

/** A secret as it is stored. */
const stored = { sealed: z.string(), sealed_by: z.string(), hint: z.string(), public_key: z.string().nullable() }

const fields = { name: z.string(), url: z.string(), event_types: z.array(eventType) }
const named = { ...caller, endpoint_id: id }
const refusals = [...keyRefusals, 'not_found'] as const

export const create_webhook_endpoint = {
  item: z.strictObject({ ...caller, created_by: uuid, ...fields, signature_type: shown.secretType, ...stored }),
  answer: z.discriminatedUnion('decision', [
    z.strictObject({ decision: z.literal('created'), endpoint }),
    z.strictObject({ decision: z.enum([...keyRefusals, 'too_many_webhook_endpoints']) }),
  ]),
}

export const read_webhook_endpoint = {
  item: z.strictObject({ ...named, with_secrets: z.literal(true).optional() }),
  answer: z.discriminatedUnion('decision', [
    z.strictObject({
      decision: z.literal('allowed'),
      endpoint,
      secrets: z.array(z.string()).optional(),
    }),
    z.strictObject({ decision: z.enum(refusals), endpoint: z.null() }),
  ]),
}

export const update_webhook_endpoint = {
  item: z.strictObject({
    ...named,
    fields: z.strictObject({ ...fields, status: z.enum(['enabled', 'disabled']) }).partial(),
  }),
  answer: z.discriminatedUnion('decision', [
    z.strictObject({ decision: z.literal('allowed'), endpoint }),
    z.strictObject({ decision: z.enum(refusals), endpoint: z.null() }),
  ]),
}

export const delete_webhook_endpoint = {
  item: z.strictObject(named),
  answer: z.strictObject({ decision: z.enum([...refusals, 'deleted']) }),
}

export const rotate_webhook_secret = {
  item: z.strictObject({ ...named, rotated_by: uuid, keeps_old: z.boolean(), ...stored }),
  answer: z.discriminatedUnion('decision', [
    z.strictObject({ decision: z.literal('rotated'), endpoint }),
    z.strictObject({ decision: z.enum(refusals) }),
  ]),
}

export const resend_webhook_delivery = {
  item: z.strictObject({ ...named, delivery_id: id }),
  answer: z.strictObject({ decision: z.enum([...refusals, 'resent', 'webhook_endpoint_disabled']) }),
}

export const recover_webhook_deliveries = {
  item: z.strictObject({ ...named, since: z.string(), limit: count }),
  answer: z.discriminatedUnion('decision', [
    z.strictObject({ decision: z.literal('recovered'), count, has_more: z.boolean() }),
    z.strictObject({ decision: z.enum([...refusals, 'webhook_endpoint_disabled']) }),
  ]),
}

const notifications = shownNotifications.notifications.omit({ object: true })

export const read_notifications = {
  item: z.strictObject({ ...operator, account_id: id }),
  answer: z.discriminatedUnion('decision', [
    z.strictObject({ decision: z.literal('allowed'), notifications }),
    z.strictObject({ decision: z.literal('not_found'), notifications: z.null() }),
  ]),
}

export const update_notifications = {
  item: z.strictObject({
    ...operator,
    account_id: id,
    fields: z.strictObject({ email: z.string().nullable(), event_types: z.array(eventType) }).partial(),
    default_event_types: z.array(eventType), // where nothing was said yet
  }),
  answer: z.discriminatedUnion('decision', [
    z.strictObject({ decision: z.literal('allowed'), notifications }),
    z.strictObject({ decision: z.literal('not_found') }),
  ]),
}

const delivery = z.strictObject({
  delivery_id: id,
  event_id: z.string(),
  type: z.string(),
  body: z.string(),
  tries: count,
})

export const claim_deliveries = {
  item: z.strictObject({ count_max: count, slow_max: count, lease_ms: count, deliveries_max: count }),
  answer: z.strictObject({
    decision: z.literal('claimed'),
    endpoints: z.array(
      z.strictObject({
        endpoint_id: id,
        account_id: id,
        lease: uuid,
        kind: z.enum(['webhook', 'email']),
        url: z.string(),
        is_slow: z.boolean(),
        secrets: z.array(z.string()),
        deliveries: z.array(delivery),
      }),
    ),
    next_due_ms: z.number().nullable(),
  }),
}

export const note_attempt = {
  item: z.strictObject({
    endpoint_id: id,
    lease: uuid,
    releases: z.boolean(), // nothing more is sent in this lease
    rest_ms: count.optional(), // for how long it is left alone
    attempt: shown.webhookAttempt
      .extend({ delivery_id: id, tries: count, answer: z.string().nullable(), retry_after_s: count.nullable() })
      .nullable(),
  }),
  answer: z.strictObject({ decision: z.enum(['noted', 'superseded']) }),
}

export const note_expiring_keys = {
  item: z.strictObject({ count_max: count }),
  answer: z.strictObject({ decision: z.literal('told'), count }),
}

export const forget_events = {
  item: z.strictObject({ count_max: count }),
  answer: z.strictObject({ decision: z.literal('forgotten'), count }),
}

export const list_sealed_secrets = {
  item: z.strictObject({ sealed_by: z.string(), after: z.string(), count_max: count }),
  answer: z.strictObject({
    decision: z.literal('listed'),
    secrets: z.array(z.strictObject({ endpoint_id: id, sealed: z.string(), old_sealed: z.string().nullable() })),
  }),
}

export const reseal_secret = {
  item: z.strictObject({
    endpoint_id: id,
    before: z.string(), // as it is sealed now
    sealed: z.string(),
    old_sealed: z.string().nullable(),
    sealed_by: z.string(),
  }),
  answer: z.strictObject({ decision: z.enum(['resealed', 'superseded']) }),
}
