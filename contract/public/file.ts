// Files, in the form that OpenAI's clients read them.

import * as z from 'zod'
import { count } from './scalar.ts'

const unix_s = z.int()

export const filePurpose = z.enum(['batch', 'batch_output'])

export const file = z.strictObject({
  object: z.literal('file'),
  id: z.string().regex(/^file-[1-9]\d*$/),
  bytes: count,
  created_at: unix_s,
  expires_at: unix_s,
  filename: z.string(),
  purpose: filePurpose,
  status: z.literal('processed'),
  status_details: z.null(),
})

export const fileDeleted = z.strictObject({
  object: z.literal('file'),
  id: z.string(),
  deleted: z.literal(true),
})
