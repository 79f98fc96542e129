// A call that came with an Idempotency-Key, as far as that matters: what limits/ knows of a request.

import type { Call, Env } from '../env.ts'
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

/** Answers null where the call came without an Idempotency-Key. */
export async function repeatableCall(c: Call): Promise<RepeatableCall | null> {
  const idempotency_key = c.req.header('idempotency-key')
  if (idempotency_key === undefined) return null
  return { env: c.env, endpoint: `${c.req.method} ${c.req.path}`, idempotency_key, body: await bodyOf(c) }
}

/** The replay as this call's answer, under the request id that it was billed under. */
export function answerAgain(c: Call, { replayed, request_id }: Replay): Response {
  c.set('request_id', request_id)
  return replayed
}
