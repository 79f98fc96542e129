// The query of a URL, by a strict schema: a parameter that is not known is refused by its name.

import type * as z from 'zod'
import type { Call } from '../env.ts'
import { ApiError } from '../error.ts'

const ECHO_LENGTH_MAX = 100

export function readQuery<Q>(c: Call, schema: z.ZodType<Q>): Q {
  const parsed = schema.safeParse(c.req.query())
  if (parsed.success) return parsed.data
  const [issue] = parsed.error.issues
  if (issue?.code === 'unrecognized_keys')
    throw new ApiError('unknown_parameter', { param: issue.keys[0]!.slice(0, ECHO_LENGTH_MAX) })
  const param = String(issue?.path[0])
  throw new ApiError('invalid_value', { param, message: `Invalid value for '${param}'.` })
}
