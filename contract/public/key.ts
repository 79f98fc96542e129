// An API key as it is shown: everything but what could be used.

import * as z from 'zod'
import { limits, limitsInUse } from './limits.ts'
import { id, moment } from './scalar.ts'

export const scope = z.enum(['generate', 'usage', 'keys', 'webhooks', 'admin'])

export const key = z.strictObject({
  object: z.literal('key'),
  id,
  account_id: id,
  name: z.string(),
  prefix: z.string(),
  last_four: z.string(),
  scopes: z.array(scope),
  models: z.array(z.string()).nullable(), // null: every model
  tags: z.array(z.string()),
  allowed_ips: z.array(z.string()).nullable(), // null: every address
  ...limits.shape,
  ...limitsInUse.shape,
  created_at: moment,
  last_used_at: moment.nullable(),
  expires_at: moment.nullable(),
  revoked_at: moment.nullable(),
  rotated_from: id.nullable(),
  metered_as: id, // the key whose meter counts what this one uses
})

/** The answer that made a key, which alone has the key itself. */
export const newKey = key.extend({ key: z.string() })

/** The answer to whoever reported a key as leaked. */
export const leakedKey = key.pick({ object: true, id: true }).extend({ revoked_at: moment })

export type Scope = z.infer<typeof scope>
export type Key = z.infer<typeof key>
