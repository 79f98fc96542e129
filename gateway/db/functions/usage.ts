// What was used: request by request, and added up. The months of the table that keeps it.

import * as z from 'zod'
import { count, uuid } from '../../../contract/public/scalar.ts'
import * as shown from '../../../contract/public/usage.ts'
import { asked, caller, keyRefusals, page } from './asker.ts'

const usage = shown.usage.omit({ object: true })
const refused = z.strictObject({ decision: z.enum([...keyRefusals, 'not_found']) })

export const read_usage = {
  item: asked({ request_id: uuid }, {}),
  answer: z.discriminatedUnion('decision', [z.strictObject({ decision: z.literal('allowed'), usage }), refused]),
}

export const list_usage = {
  item: z.strictObject({ ...caller, ...page }),
  answer: z.discriminatedUnion('decision', [
    z.strictObject({ decision: z.literal('allowed'), usage: z.array(usage) }),
    refused,
  ]),
}

export const add_usage_months = {
  item: z.strictObject({ months_ahead: count }),
  answer: z.strictObject({ decision: z.enum(['added', 'locked']) }),
}
