// /admin/accounts/{id}/notifications: where an account is written to, and about what.

import * as z from 'zod'
import * as shown from '../../../contract/public/notifications.ts'
import { eventType } from '../../../contract/public/webhook-event.ts'
import type { Operator } from '../../auth/authenticate.ts'
import { obtain } from '../../db/ask.ts'
import { endpoint } from '../../endpoint.ts'
import { ApiError } from '../../error.ts'
import { pathId } from '../../field/id.ts'
import { readBody } from '../../field/read-body.ts'
import { isEmailSetUp, WRITTEN_ABOUT } from '../../webhook/email.ts'

const change = z
  .strictObject({ email: z.email().max(320).nullable(), event_types: z.array(eventType).max(100) })
  .partial()

export const retrieveNotifications = endpoint(
  { says: 'Shows where an account is written to, and about what.', answer: shown.notifications },
  async (c, operator: Operator) => {
    const { notifications } = await obtain(
      c.env,
      'read_notifications',
      { ...operator, account_id: pathId(c) },
      'allowed',
    )
    return c.json({ object: 'notifications', ...notifications })
  },
)

export const updateNotifications = endpoint(
  {
    says: 'Changes where an account is written to; with null it is not. Without event_types it is about what matters.',
    body: change,
    answer: shown.notifications,
  },
  async (c, operator: Operator) => {
    const fields = await readBody(c, change)
    if (fields.email && !isEmailSetUp(c.env)) throw new ApiError('email_not_configured')
    const item = { ...operator, account_id: pathId(c), fields, default_event_types: WRITTEN_ABOUT }
    const { notifications } = await obtain(c.env, 'update_notifications', item, 'allowed')
    return c.json({ object: 'notifications', ...notifications })
  },
)
