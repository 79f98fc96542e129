// An error, as OpenAI's clients read it. gateway/error.ts has the table of all.

import * as z from 'zod'

export const errorType = z.enum([
  'invalid_request_error',
  'permission_error',
  'insufficient_quota',
  'requests',
  'tokens',
  'server_error',
])

export const errorBody = z.strictObject({
  error: z.strictObject({
    message: z.string(),
    type: errorType,
    param: z.string().nullable(),
    code: z.string().nullable(),
  }),
})

export type ErrorType = z.infer<typeof errorType>
export type ErrorBody = z.infer<typeof errorBody>
