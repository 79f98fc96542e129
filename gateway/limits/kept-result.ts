// The result of an idempotent request: kept sealed, and answered again.

import { fromBase64, toBase64 } from '../../contract/base64url.ts'
import { ask } from '../db/ask.ts'
import { settingsOf } from '../env.ts'
import { ApiError } from '../error.ts'
import { sealForEnv, unsealForEnv } from '../seal.ts'
import { UNBUFFERED } from '../unbuffered.ts'
import type { Idempotency } from './idempotency.ts'
import type { RepeatableCall, Replay } from './repeatable-call.ts'
import { secretOf } from './result-secret.ts'

export const RESULT_BYTES_MAX = 1 << 20

export interface Claim {
  account_id: string
  request_id: string
  idempotency: Idempotency
}

interface Result {
  status: number
  content_type: string
  bytes: Uint8Array<ArrayBuffer>
}

// Says that a repeated request will not find this answer: it ran, and is billed, all the same.
const NOT_KEPT = { 'idempotency-kept': 'false' }

/** Keeps a whole answer, and gives it on. A result that cannot be kept is still the answer, and says so. */
export async function keepAnswer(call: RepeatableCall, claim: Claim, answer: Response): Promise<Response> {
  const bytes = new Uint8Array(await answer.arrayBuffer())
  const content_type = answer.headers.get('content-type') ?? ''
  const is_kept = await keepResult(call, claim, { status: answer.status, content_type, bytes })
  const kept = new Response(bytes, answer)
  if (!is_kept) for (const [name, value] of Object.entries(NOT_KEPT)) kept.headers.set(name, value)
  return kept
}

/** Whether it is kept: one too large is not, nor one beyond what an account may have. */
async function keepResult(call: RepeatableCall, claim: Claim, result: Result): Promise<boolean> {
  const { status, content_type, bytes } = result
  if (bytes.length > RESULT_BYTES_MAX) return false
  const body = toBase64(await sealForEnv(call.env, bytes, secretOf(call, claim.account_id)))
  const { kept_bytes_max } = settingsOf(call.env)
  const item = { ...claim, status, content_type, body, account_bytes_max: kept_bytes_max }
  try {
    return (await ask(call.env, 'keep_result', item)).decision === 'kept'
  } catch (error) {
    if (!(error instanceof ApiError)) throw error
    console.error(`${claim.request_id}: the result of an idempotent request was not kept`)
    return false
  }
}

// The first line of the event that a node ends a whole stream with, in each form (gpu-node/answer), behind its number.
const LAST_EVENT = /^(id: \d+\n)?(data: \[DONE\]|event: message_stop|event: response\.(completed|incomplete))\n/

/** Whether a stream came to its end. */
function isWhole(stream: string): boolean {
  const before = stream.lastIndexOf('\n\n', stream.length - 3)
  return stream.endsWith('\n\n') && LAST_EVENT.test(stream.slice(before < 0 ? 0 : before + 2))
}

/** Passes a stream on and keeps it, if it comes whole to its end: before the client sees that, a repeated request finds it. */
export function keepStream(call: RepeatableCall, claim: Claim, answer: Response): Response {
  const parts: Uint8Array<ArrayBuffer>[] = []
  let bytes = 0
  const keeper = new TransformStream<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>>({
    transform(part, controller) {
      bytes += part.length
      if (bytes <= RESULT_BYTES_MAX) parts.push(part.slice())
      controller.enqueue(part)
    },
    async flush() {
      if (bytes > RESULT_BYTES_MAX) return
      const whole = new Uint8Array(await new Blob(parts).arrayBuffer())
      const content_type = answer.headers.get('content-type') ?? ''
      if (isWhole(new TextDecoder().decode(whole)))
        await keepResult(call, claim, { status: answer.status, content_type, bytes: whole })
    },
  })
  return new Response(answer.body!.pipeThrough(keeper), answer)
}

/** Fetched where it is wanted: what decides whether a request may run carries no bodies. */
export async function replay(call: RepeatableCall, claim: Claim): Promise<Replay> {
  const { account_id, request_id, idempotency } = claim
  const kept = await ask(call.env, 'read_result', { account_id, request_id, idempotency })
  if (kept.decision === 'gone') throw lost(request_id)
  const bytes = await unsealForEnv(call.env, fromBase64(kept.body)!, secretOf(call, account_id))
  if (!bytes) throw new ApiError('idempotency_lost', { param: 'Idempotency-Key' }) // sealed with a secret that was changed since
  const headers = { 'content-type': kept.content_type, ...UNBUFFERED, 'idempotency-replayed': 'true' }
  return { replayed: new Response(bytes, { status: kept.status, headers }), request_id }
}

/** It was done, and nobody can be shown any more how it was answered. */
export function lost(request_id: string): ApiError {
  return new ApiError('idempotency_lost', {
    param: 'Idempotency-Key',
    message: `The first request with this key has ended and its result was not kept; GET /v1/usage/${request_id} has its bill. Use another key to ask again.`,
  })
}
