// Endpoints of webhooks, in the form that OpenAI's clients manage them by, with what is known here besides; and deliveries to them.

import * as z from 'zod'
import { count } from './scalar.ts'
import { event, eventType } from './webhook-event.ts'

const unix_s = z.int()

export const secretType = z.enum(['hmac', 'ed25519'])
export const disabledReason = z.enum(['gone', 'failing', 'requested'])

export const webhookEndpoint = z.strictObject({
  object: z.literal('webhook_endpoint'),
  id: z.string().regex(/^whe_[1-9]\d*$/),
  name: z.string(),
  url: z.string(),
  event_types: z.array(eventType),
  created_at: unix_s,
  updated_at: unix_s,
  signing_secret_hint: z.string().nullable(),
  secret_type: secretType,
  public_key: z.string().nullable(), // that an ed25519 signature is verified with
  old_secret_active_until: unix_s.nullable(),
  status: z.enum(['enabled', 'disabled']),
  disabled_at: unix_s.nullable(),
  disabled_reason: disabledReason.nullable(),
  failing_since: unix_s.nullable(),
})

/** The answer that made the endpoint or its secret, which alone has the secret itself; of ed25519 its public half. */
export const webhookEndpointWithSecret = webhookEndpoint.extend({ signing_secret: z.string() })

export const deletedWebhookEndpoint = z.strictObject({
  object: z.literal('webhook_endpoint.deleted'),
  id: z.string(),
  deleted: z.literal(true),
})

export const webhookTest = z.strictObject({
  object: z.literal('webhook_endpoint.test'),
  webhook_endpoint_id: z.string(),
  event_type: eventType,
  status_code: z.int(),
  success: z.literal(true),
})

export const webhookAttempt = z.strictObject({
  status: z.int().nullable(), // null where nothing was answered
  error: z.string().nullable(),
  started_unix_ms: z.number(),
  duration_ms: count,
})

export const webhookDelivery = z.strictObject({
  object: z.literal('webhook_delivery'),
  id: z.string().regex(/^whd_[1-9]\d*$/),
  webhook_endpoint_id: z.string(),
  event,
  state: z.enum(['pending', 'delivered', 'failed']),
  next_attempt_at: unix_s.nullable(),
  attempts: z.array(webhookAttempt), // the last of them
  answer: z.string().nullable(), // the beginning of what was answered to the last
  created_at: unix_s,
})

/** A delivery that is sent again. */
export const resent = webhookDelivery.pick({ object: true, id: true }).extend({ state: z.literal('pending') })

export const recovery = z.strictObject({
  object: z.literal('webhook_endpoint.recovery'),
  deliveries: count,
  has_more: z.boolean(), // asked again, the next of them are sent
})

export type WebhookEndpoint = z.infer<typeof webhookEndpoint>
export type WebhookDelivery = z.infer<typeof webhookDelivery>
