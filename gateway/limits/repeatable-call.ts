// A call that came with an Idempotency-Key, as far as that matters: what limits/ knows of a request.

import type { Call, Env } from '../env.ts'
import { ApiError } from '../error.ts'
import { type Body, bodyOf } from '../field/read-body.ts'

export interface RepeatableCall {
  env: Env
  endpoint: string // "POST /v1/keys"
  idempotency_key: string
  body: Body
}

/** An answer given before, and the request it was billed under. */
export interface Replay {
  replayed: Response
  request_id: string
}

// The path is a part of what is kept, so it has to be what the database can hold; no path of ours is any other.
const PATH = /^[\x21-\x7e]{1,300}$/
const PATH_SAYS = 'A path that is asked with an Idempotency-Key has at most 300 visible characters of ASCII.'

/** Answers null where the call came without an Idempotency-Key. */
export async function repeatableCall(c: Call): Promise<RepeatableCall | null> {
  const idempotency_key = c.req.header('idempotency-key')
  if (idempotency_key === undefined) return null
  if (!PATH.test(c.req.path)) throw new ApiError('invalid_value', { param: 'path', message: PATH_SAYS })
  return { env: c.env, endpoint: `${c.req.method} ${c.req.path}`, idempotency_key, body: await bodyOf(c) }
}

/** The replay as this call's answer, under the request id that it was billed under. */
export function answerAgain(c: Call, { replayed, request_id }: Replay): Response {
  c.set('request_id', request_id)
  return replayed
}
