// GET /v1/events: what happened to an account in the last 30 days, for who would rather ask than be told.

import * as z from 'zod'
import * as pages from '../../../contract/public/page.ts'
import { type Event, event, eventType } from '../../../contract/public/webhook-event.ts'
import type { Caller } from '../../auth/authenticate.ts'
import { accountOf, rowsOf } from '../../db/query.ts'
import { endpoint } from '../../endpoint.ts'
import { eventId } from '../../field/id.ts'
import { pageOf, pageQuery } from '../../field/page.ts'
import { readQuery } from '../../field/query.ts'

const query = pageQuery({
  after: eventId.optional(),
  type: eventType.optional(),
  order: z.enum(['asc', 'desc']).default('desc'),
})

export const listEvents = endpoint(
  {
    says: 'Lists the events of the last 30 days, the newest first, or with order=asc the oldest.',
    query,
    answer: pages.pageOf(event),
  },
  async (c, caller: Caller) => {
    const page = readQuery(c, query)
    const account_id = await accountOf(c.env, { ...caller, scope: 'webhooks' })
    const rows = await rowsOf(c.env, 'list_events', { ...page, account_id })
    const events = rows.map(({ event }) => JSON.parse(event) as Event)
    return c.json(pageOf(events, page.limit, ({ id }) => id))
  },
)
