// Text that a model can be given and Postgres can hold: no NUL, no half of a surrogate pair.

import * as z from 'zod'

export const text = z.string().refine(isText, { error: 'text may contain neither NUL nor a lone surrogate' })

export function isText(value: unknown): value is string {
  return typeof value === 'string' && !value.includes('\0') && value.isWellFormed()
}
