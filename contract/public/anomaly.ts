// What should not have happened and was charged to nobody, with what was reported.

import * as z from 'zod'
import { id, moment, uuid } from './scalar.ts'

export const anomaly = z.strictObject({
  object: z.literal('anomaly'),
  id,
  created_at: moment,
  kind: z.enum([
    'rejected',
    'stale',
    'conflict',
    'above_reservation',
    'above_late_limit',
    'unreserved',
    'refused',
    'bad_ticket',
    'other_node',
  ]),
  request_id: uuid,
  account_id: z.string().nullable(), // as it was reported
  node_id: z.string().nullable(),
  sqlstate: z.string().nullable(), // of what the database refused
  detail: z.record(z.string(), z.unknown()),
})

export type Anomaly = z.infer<typeof anomaly>
