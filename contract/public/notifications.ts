// What an account is told by e-mail.

import * as z from 'zod'
import { id } from './scalar.ts'
import { disabledReason } from './webhook.ts'
import { eventType } from './webhook-event.ts'

export const notifications = z.strictObject({
  object: z.literal('notifications'),
  account_id: id,
  email: z.string().nullable(), // null: nothing is written
  event_types: z.array(eventType),
  disabled_reason: disabledReason.nullable(), // not null: the address takes nothing; it is written to again once it is set again
})
