// Lists, as they are answered.

import * as z from 'zod'

/** The newest first. `last_id` is the `after` that asks for the next page. */
export function pageOf<R extends z.ZodType>(row: R) {
  return z.strictObject({
    object: z.literal('list'),
    data: z.array(row),
    has_more: z.boolean(),
    last_id: z.string().nullable(),
  })
}

/** A list that comes whole. */
export function listOf<R extends z.ZodType>(row: R) {
  return z.strictObject({ object: z.literal('list'), data: z.array(row) })
}
