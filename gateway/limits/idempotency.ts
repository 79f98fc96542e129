// Idempotency-Key: what was asked with one is done once, and its first result is answered again for a day. The claim is the
// database's (in `admit` for a generation). The result is sealed here, with a key made of the caller's own Idempotency-Key and a
// secret, neither of which the database has. So nothing that was said can be read there, and a new API key is never at rest.

import { fromBase64Url, toHex } from '../../contract/base64url.ts'
import { sign } from '../../contract/internal/ticket.ts'
import { askTeller, type Decided } from '../db/ask.ts'
import type { Operation } from '../env.ts'
import { ApiError } from '../error.ts'
import type { Body } from '../field/read-body.ts'
import { type Kept, keepResult, replay } from './kept-result.ts'
import type { RepeatableCall, Replay } from './repeatable-call.ts'
import { secretOf } from './seal.ts'

const KEY_LENGTH_MAX = 255
const LEASE_MS = 30_000 // longer than a call that is no generation can take

/** What the database knows such a call by. */
export interface Idempotency {
  endpoint: string
  key_hash: string // hex
  fingerprint: string // hex
}

/** `asker` is who asks, where the result is theirs alone. */
export async function idempotencyOf(call: RepeatableCall, asker = ''): Promise<Idempotency> {
  const { env, endpoint, idempotency_key, body } = call
  if (idempotency_key.length === 0 || idempotency_key.length > KEY_LENGTH_MAX)
    throw new ApiError('invalid_value', {
      param: 'Idempotency-Key',
      message: `Idempotency-Key must have from 1 to ${KEY_LENGTH_MAX} characters.`,
    })
  const fingerprint = await sign(`body of ${asker}${canonical(body)}`, env.ADMIN_KEY)
  const key_hash = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(idempotency_key))
  return { endpoint, key_hash: toHex(new Uint8Array(key_hash)), fingerprint: toHex(fromBase64Url(fingerprint)!) }
}

/** Throws or answers what a verdict of the database says; null where the request is to run. */
export async function answerTo(call: RepeatableCall, verdict: Decided): Promise<Replay | null> {
  switch (verdict.decision) {
    case 'idempotency_mismatch':
      throw new ApiError('idempotency_mismatch', { param: 'Idempotency-Key' })
    case 'idempotency_running':
      throw new ApiError('idempotency_running', { param: 'Idempotency-Key' })
    case 'idempotency_lost':
      throw new ApiError('idempotency_lost', {
        param: 'Idempotency-Key',
        message: `The first request with this key has ended and its result was not kept; GET /v1/usage/${(verdict as Decided & Kept).request_id} has its bill. Use another key to ask again.`,
      })
    case 'replay':
      return replay(call, verdict as Decided & Kept)
    default:
      return null
  }
}

export interface Claimant {
  request_id: string
  /** Who asks, as the database is asked about them, and with which scope. */
  asker: object
  /** The asking key's hash, or nothing for the operator. */
  key_hash: string | null
}

/**
 * A POST that is no generation: claimed, carried out by `run`, and its result kept where it did something. The result may hold a
 * secret that is more than another key of the account may have. So it is the asking key's alone, and to any other a mismatch.
 */
export async function once(
  call: RepeatableCall,
  { request_id: new_id, asker, key_hash }: Claimant,
  run: (operation: Operation | null) => Promise<Response>,
): Promise<Response | Replay> {
  const { env } = call
  const idempotency = await idempotencyOf(call, key_hash ?? '')
  const item = { ...asker, idempotency, request_id: new_id, lease_ms: LEASE_MS }
  const shard_by = idempotency.key_hash
  const [verdict] = await askTeller<Decided>(env, 'claim_request', { shard_by, items: [item] })
  if (verdict!.decision !== 'claimed') return (await answerTo(call, verdict!)) ?? run(null) // an unknown key is refused where all are
  const { account_id, request_id } = verdict as Decided & Kept
  const seed = await sign(`of ${request_id} ${await secretOf(call, account_id)}`, env.ADMIN_KEY)
  const claim = { account_id, request_id, idempotency }
  try {
    const answer = await run({ id: request_id, seed })
    const bytes = new Uint8Array(await answer.clone().arrayBuffer())
    const content_type = answer.headers.get('content-type') ?? ''
    await keepResult(call, claim, { status: answer.status, content_type, bytes })
    return answer
  } catch (error) {
    // What was refused changed nothing, and the next try may be another one. What failed may have: it is done again as itself.
    const forget = error instanceof ApiError && error.status < 500
    await askTeller(env, 'release_request', { shard_by, items: [{ ...claim, forget }] }).catch(() => {})
    throw error
  }
}

/** The same for the same fields in any order; text that is no JSON is itself. */
function canonical(body: Body): string {
  try {
    return JSON.stringify(body.json(), sortFields)
  } catch {
    return body.text
  }
}

function sortFields(_: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
}
