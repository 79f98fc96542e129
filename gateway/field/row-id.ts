// The id of a row as it travels: a decimal string, because a bigint may not fit a JavaScript number.

import * as z from 'zod'
import type { Call } from '../env.ts'
import { ApiError } from '../error.ts'

export const rowId = z.string().regex(/^[1-9]\d{0,17}$/, 'expected an id')

/** The id in the path; one that is no id names nothing. */
export function pathId(c: Call): string {
  const id = rowId.safeParse(c.req.param('id'))
  if (!id.success) throw new ApiError('not_found')
  return id.data
}
