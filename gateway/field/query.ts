// The query of a URL, by a strict schema: a parameter that is not known is refused by its name.

import type * as z from 'zod'
import { isText } from '../../contract/public/text.ts'
import type { Call } from '../env.ts'
import { ApiError } from '../error.ts'

const ECHO_LENGTH_MAX = 100

export function readQuery<Q>(c: Call, schema: z.ZodType<Q>): Q {
  const query = c.req.query()
  const parsed = schema.safeParse(query)
  const odd = Object.keys(query).find((name) => !isText(name) || !isText(query[name]))
  if (parsed.success && odd === undefined) return parsed.data
  if (parsed.success)
    throw new ApiError('invalid_value', {
      param: odd!.slice(0, ECHO_LENGTH_MAX),
      message: 'A query may not contain NUL.',
    })
  const [issue] = parsed.error.issues
  if (issue?.code === 'unrecognized_keys')
    throw new ApiError('unknown_parameter', { param: issue.keys[0]!.slice(0, ECHO_LENGTH_MAX) })
  const param = String(issue?.path[0])
  throw new ApiError('invalid_value', { param, message: `Invalid value for '${param}'.` })
}
