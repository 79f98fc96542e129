// An endpoint: what it takes and gives, and how it answers. The document of the API (docs/openapi.json) is made of the same schemas
// that endpoints read bodies and queries by.

import type * as z from 'zod'
import type { Call } from './env.ts'

/** It is told who asks, or what they signed. */
export type Handler<A> = (c: Call, asker: A) => Promise<Response>

export interface Description {
  /** One line that says what it does. */
  says: string
  query?: z.ZodType
  body?: z.ZodType
  /** A body that is a form, multipart/form-data. */
  form?: z.ZodType
  /** A body to try it with. */
  example?: object
  /** The JSON of its answer; null where it gives none. */
  answer: z.ZodType | null
  /** The statuses that come with this answer; by default 200. */
  statuses?: readonly (200 | 201 | 206 | 503)[]
  /** What a refusal of it is, where it has a form of its own. */
  error?: z.ZodType
  /** Other forms of the answer; a schema says what each event of a stream is. */
  also?: Record<`text/${string}` | `application/octet-${string}`, z.ZodType | null>
}

export interface Endpoint<A> extends Description {
  handle: Handler<A>
}

export function endpoint<A = unknown>(description: Description, handle: Handler<A>): Endpoint<A> {
  return { ...description, handle }
}
