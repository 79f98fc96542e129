// Text that a model can be given and Postgres can hold: no NUL, no half of a surrogate pair.

import * as z from 'zod'

export const text = z.string().refine((value) => !value.includes('\0') && value.isWellFormed(), {
  error: 'text may contain neither NUL nor a lone surrogate',
})

/** A name that a person gives something. */
export const name = text.min(1).max(200)
