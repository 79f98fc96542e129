// A page of a list, the newest first: `limit` at most, those before `after`.

import * as z from 'zod'
import { rowId } from './id.ts'

const page = z.strictObject({
  limit: z
    .string()
    .regex(/^\d{1,3}$/, 'expected a number from 1 to 100')
    .meta({ type: 'integer', minimum: 1, maximum: 100, default: 20, pattern: undefined })
    .transform(Number)
    .pipe(z.int().min(1).max(100))
    .default(20),
  after: rowId.optional(),
})

/** The query of a list, with what else it takes; lists whose ids are no numbers bring their own `after`. */
export function pageQuery<S extends z.ZodRawShape>(more: S) {
  return page.extend(more)
}

/** One more than asked for tells whether there are more. */
export function pageOf<R>(rows: R[], limit: number, idOf: (row: R) => string) {
  const data = rows.slice(0, limit)
  const last = data.at(-1)
  return { object: 'list', data, has_more: rows.length > limit, last_id: last ? idOf(last) : null }
}
