// Last-Event-ID, as the standard of server-sent events has it: the number of the last event that a reader of a stream has. Ours count
// from 0, in each stream; an empty one says that its reader has none.

import type { Call } from '../env.ts'
import { ApiError } from '../error.ts'

const NUMBER = /^\d{0,9}$/

/** The number of the first event that the caller lacks; null where they do not say. */
export function firstLacked(c: Call): number | null {
  const text = c.req.header('last-event-id')
  if (text === undefined) return null
  if (!NUMBER.test(text)) throw unusable('It is the number of an event, of up to nine digits, or empty.')
  return text === '' ? 0 : Number(text) + 1
}

export function unusable(message: string): ApiError {
  return new ApiError('invalid_value', { param: 'Last-Event-ID', message })
}
