// Idempotency-Key: what was asked with one is done once, and its first result is answered again for a day. The claim is the
// database's (in `admit` for a generation). The result is sealed here, with a key made of the caller's own Idempotency-Key and a
// secret, neither of which the database has. So nothing that was said can be read there, and a new API key is never at rest.

import { fromBase64Url, toHex } from '../../contract/base64url.ts'
import { hmac } from '../../contract/hmac.ts'
import { ask } from '../db/ask.ts'
import type { Answer, Item } from '../db/functions.ts'
import { dataSecretOf, type Env, type Operation } from '../env.ts'
import { ApiError } from '../error.ts'
import type { Body } from '../field/read-body.ts'
import { type Claim, keepAnswer, lost, replay } from './kept-result.ts'
import type { RepeatableCall, Replay } from './repeatable-call.ts'
import { secretOf } from './result-secret.ts'

const KEY_LENGTH_MAX = 255
const LEASE_MS = 30_000 // longer than a call that is no generation can take

/** What the database knows such a call by. */
export interface Idempotency {
  endpoint: string
  key_hash: string // hex
  fingerprint: string // hex
  /** The same by the secret that was in use before, where there is one. */
  fingerprint_before?: string
}

/** `asker` is who asks, where the result is theirs alone. */
export async function idempotencyOf(call: RepeatableCall, asker = ''): Promise<Idempotency> {
  const { env, endpoint, idempotency_key, body } = call
  if (idempotency_key.length === 0 || idempotency_key.length > KEY_LENGTH_MAX)
    throw new ApiError('invalid_value', {
      param: 'Idempotency-Key',
      message: `Idempotency-Key must have from 1 to ${KEY_LENGTH_MAX} characters.`,
    })
  const text = `body of ${asker}${canonical(body)}`
  const key_hash = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(idempotency_key))
  return { endpoint, key_hash: toHex(new Uint8Array(key_hash)), ...(await fingerprintsOf(env, text)) }
}

async function fingerprintsOf(env: Env, text: string) {
  const by = async (secret: string) => toHex(fromBase64Url(await hmac(text, secret))!)
  const { DATA_SECRET_BEFORE: before } = env
  return { fingerprint: await by(dataSecretOf(env)), ...(before && { fingerprint_before: await by(before) }) }
}

/** The database says this of a call that was made before. */
type Verdict = Extract<
  Answer<'admit'> | Answer<'claim_request'>,
  { decision: 'kept' | 'idempotency_mismatch' | 'idempotency_running' | 'idempotency_lost' }
>

/** The first result again, or why there is none. */
export async function answerTo(call: RepeatableCall, verdict: Verdict, idempotency: Idempotency): Promise<Replay> {
  switch (verdict.decision) {
    case 'kept':
      return replay(call, { ...verdict, idempotency })
    case 'idempotency_lost':
      throw lost(verdict.request_id)
    case 'idempotency_mismatch':
    case 'idempotency_running':
      throw new ApiError(verdict.decision, { param: 'Idempotency-Key' })
  }
}

/** The database is asked about them in this form. */
type Asked = { scope?: string } & (
  | { key_hash: string; address: string | null; knows_suspension?: true }
  | { operator: true; by?: Item<'create_operator'>['by'] }
)

export interface Claimant {
  request_id: string
  /** Who asks, and the scope they need. */
  asker: Asked
  /** Whose the result is: the asking key's, by its hash, or an operator's. */
  key_hash: string | null
}

/**
 * A POST that is no generation: claimed, carried out by `run`, and its result kept where it did something. The result may hold a
 * secret that is more than another key of the account may have. So it is the asking key's alone, and to any other a mismatch.
 */
export async function once(
  call: RepeatableCall,
  { request_id, asker, key_hash }: Claimant,
  run: (operation: Operation | null) => Promise<Response>,
): Promise<Response | Replay> {
  const idempotency = await idempotencyOf(call, key_hash ?? '')
  const item = { ...asker, idempotency, request_id, lease_ms: LEASE_MS, results_by_id: true as const }
  const claim = await ask(call.env, 'claim_request', item)
  switch (claim.decision) {
    case 'claimed':
      return carryOut(call, { account_id: claim.account_id, request_id: claim.request_id, idempotency }, run)
    case 'kept':
    case 'idempotency_lost':
    case 'idempotency_mismatch':
    case 'idempotency_running':
      return answerTo(call, claim, idempotency)
    default:
      return run(null) // who may not ask is refused where all are
  }
}

async function carryOut(
  call: RepeatableCall,
  claim: Claim,
  run: (operation: Operation) => Promise<Response>,
): Promise<Response> {
  const { env } = call
  const { account_id, request_id } = claim
  const data_secret = dataSecretOf(env)
  const seed = await hmac(`of ${request_id} ${await secretOf(call, account_id)(data_secret)}`, data_secret)
  try {
    return await keepAnswer(call, claim, await run({ id: request_id, seed }))
  } catch (error) {
    // What was refused changed nothing, and the next try may be another one. What failed may have: it is done again as itself.
    const forget = error instanceof ApiError && error.status < 500
    await ask(env, 'release_request', { ...claim, forget }).catch(() => {})
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
