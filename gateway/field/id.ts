// Ids as they travel. The id of a row is a decimal string, because a bigint may not fit a JavaScript number.

import * as z from 'zod'
import type { Call } from '../env.ts'
import { ApiError } from '../error.ts'

export const rowId = z.string().regex(/^[1-9]\d{0,17}$/, 'expected an id')

const RESPONSE_ID =
  /^(?:chatcmpl-|cmpl-|msg_|resp_)([0-9a-f]{8})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{12})$/i

/** The id of a request, or of its answer, which is made of it: most clients show that one and hide the header. */
export const requestId = z
  .string()
  .transform((id) => id.replace(RESPONSE_ID, '$1-$2-$3-$4-$5').toLowerCase())
  .pipe(z.guid())

/** inv_12_3: the third of account 12. */
export const invoiceId = z.string().regex(/^inv_[1-9]\d{0,17}_[1-9]\d{0,8}$/, 'expected the id of an invoice')

/** cn_12_3: the third credit note of account 12. */
export const creditNoteId = z.string().regex(/^cn_[1-9]\d{0,17}_[1-9]\d{0,8}$/, 'expected the id of a credit note')

/** whe_12, whd_12, evt_12: with a prefix that says what it is of. */
export const endpointId = prefixed('whe_', 'expected the id of a webhook endpoint')
export const deliveryId = prefixed('whd_', 'expected the id of a delivery')
export const batchId = prefixed('batch_', 'expected the id of a batch')
export const fileId = prefixed('file-', 'expected the id of a file')
export const eventId = prefixed('evt_', 'expected the id of an event')

/** It is passed on without its prefix. */
function prefixed(prefix: string, error: string) {
  return z
    .string()
    .regex(new RegExp(`^${prefix}[1-9]\\d{0,17}$`), error)
    .transform((id) => id.slice(prefix.length))
}

/** The id in the path; one that is no id names nothing. */
export function pathId(c: Call, name = 'id', schema: z.ZodType<string> = rowId): string {
  const id = schema.safeParse(c.req.param(name))
  if (!id.success) throw new ApiError('not_found')
  return id.data
}

/** chatcmpl-…: the request's id, from that of its chat completion. */
export const chatId = z
  .string()
  .regex(/^chatcmpl-[0-9a-f]{32}$/, 'expected the id of a chat completion')
  .pipe(requestId)

/** resp_…: the request's id, from that of its response. */
export const responseId = z
  .string()
  .regex(/^resp_[0-9a-f]{32}$/, 'expected the id of a response')
  .pipe(requestId)

/** msg_… or fc_…_0: the id of the request whose answer has this item. */
export const itemId = z
  .string()
  .regex(/^(msg_[0-9a-f]{32}|fc_[0-9a-f]{32}_\d{1,3})$/)
  .transform((id) => id.replace(/^(?:msg|fc)_(\w{32}).*$/, 'resp_$1'))
  .pipe(responseId)
