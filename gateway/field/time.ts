// Days and moments as they travel: ISO 8601, in the years that Postgres and the answer can both write. A moment is passed on in UTC.

import * as z from 'zod'

const LENGTH_MAX = 40
const LAST_MS = Date.parse('9999-12-31T23:59:59.999Z') // an offset can push a time of year 9999 past it
const error = 'expected a time from 1970 on'

export const day = z.iso.date().refine((value) => value >= '1970-01-01', { error })

export const moment = z.iso
  .datetime({ offset: true })
  .max(LENGTH_MAX)
  .refine((value) => Date.parse(value) >= 0 && Date.parse(value) <= LAST_MS, { error })
  .transform((value) => new Date(value).toISOString())

/** As OpenAI's clients read moments. */
export function unixSeconds(moment: string): number {
  return Math.floor(Date.parse(moment) / 1000)
}
