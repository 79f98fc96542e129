// A page of a list whose ids are numbers: `limit` at most, those before `after`, the newest first.

import * as z from 'zod'
import { ApiError } from '../error.ts'
import { rowId } from './row-id.ts'

const page = z.strictObject({
  limit: z
    .string()
    .regex(/^\d{1,3}$/, 'expected a number from 1 to 100')
    .transform(Number)
    .pipe(z.int().min(1).max(100))
    .default(20),
  after: rowId.optional(),
})

export function pageQuery(query: Record<string, string>, more: z.ZodRawShape): z.infer<typeof page> {
  const parsed = page.extend(more).safeParse(query)
  if (parsed.success) return parsed.data as z.infer<typeof page>
  const issue = parsed.error.issues[0]!
  if (issue.code === 'unrecognized_keys')
    throw new ApiError('unknown_parameter', { param: issue.keys[0]!.slice(0, 100) })
  const param = String(issue.path[0])
  throw new ApiError('invalid_value', { param, message: `Invalid value for '${param}'.` })
}

/** One more than asked for tells whether there are more. */
export function pageOf<R extends { id: string }>(rows: R[], limit: number) {
  const data = rows.slice(0, limit)
  return { object: 'list', data, has_more: rows.length > limit, last_id: data.at(-1)?.id ?? null }
}
