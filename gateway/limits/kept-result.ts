// The result of an idempotent request: kept sealed, and answered again.

import { fromBase64, toBase64 } from '../../contract/base64url.ts'
import { ask } from '../db/ask.ts'
import type { Answer } from '../db/functions.ts'
import { ApiError } from '../error.ts'
import { UNBUFFERED } from '../unbuffered.ts'
import type { Idempotency } from './idempotency.ts'
import type { RepeatableCall, Replay } from './repeatable-call.ts'
import { seal, secretOf, unseal } from './seal.ts'

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

/** A result that cannot be kept is still the answer. */
export async function keepResult(call: RepeatableCall, claim: Claim, result: Result): Promise<void> {
  const { status, content_type, bytes } = result
  if (bytes.length > RESULT_BYTES_MAX) return
  const body = toBase64(await seal(bytes, await secretOf(call, claim.account_id)))
  const item = { ...claim, status, content_type, body }
  await ask(call.env, 'keep_result', item).catch((error: unknown) => {
    if (!(error instanceof ApiError)) throw error
    console.error(`${claim.request_id}: the result of an idempotent request was not kept`)
  })
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
      if (new TextDecoder().decode(whole.slice(-20)).endsWith('data: [DONE]\n\n'))
        await keepResult(call, claim, { status: answer.status, content_type, bytes: whole })
    },
  })
  return new Response(answer.body!.pipeThrough(keeper), answer)
}

type Kept = Extract<Answer<'claim_request'>, { decision: 'replay' }>

export async function replay(call: RepeatableCall, kept: Kept): Promise<Replay> {
  const bytes = await unseal(fromBase64(kept.body)!, await secretOf(call, kept.account_id))
  if (!bytes) throw new ApiError('idempotency_lost', { param: 'Idempotency-Key' }) // sealed with a secret that was changed since
  const headers = { 'content-type': kept.content_type, ...UNBUFFERED, 'idempotency-replayed': 'true' }
  return { replayed: new Response(bytes, { status: kept.status, headers }), request_id: kept.request_id }
}
