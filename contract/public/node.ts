// A node as an operator sees it: how it is registered, and what it last said of itself.

import * as z from 'zod'
import { count, moment } from './scalar.ts'

export const node = z.strictObject({
  object: z.literal('node'),
  id: z.string(),
  url: z.string(), // where it is asked
  model: z.string(),
  public_key: z.string(), // of the key that signs its reports: Ed25519, base64url
  old_key_until: moment.nullable(), // the key before works that long
  drained_at: moment.nullable(), // since then nothing new is given to it
  created_at: moment,
  state: z.enum(['ready', 'draining', 'stopped']).nullable(), // null: it has not reported yet
  running: count.nullable(),
  waiting: count.nullable(),
  last_seen_at: moment.nullable(),
  refusals: count, // reports and records of it that were refused
})

export type Node = z.infer<typeof node>
