// Idempotency-Key: what was asked with one is done once, and its first result is answered again for a day. The claim is the
// database's (in `admit` for a generation); the result is sealed here with a key made of the caller's own Idempotency-Key and a
// secret, neither of which the database has. So nothing that was said can be read there, and a new API key is never at rest.

import { sign } from '../../contract/internal/ticket.ts'
import { askTeller, type Decided } from '../db/ask.ts'
import type { Call } from '../env.ts'
import { ApiError } from '../error.ts'

export const RESULT_BYTES_MAX = 1 << 20
const KEY_LENGTH_MAX = 255
const LEASE_MS = 30_000 // longer than a call that is no generation can take

/** What the database knows a request by. */
export interface Idempotency {
  endpoint: string
  key_hash: string // hex
  fingerprint: string // hex
}

interface Kept {
  account_id: string
  request_id: string
  status: number
  content_type: string
  body: string // base64
}

/** Of this request's header and body, and of who asks where that matters; null where it came without one. */
export async function idempotencyOf(c: Call, body: string, asker = ''): Promise<Idempotency | null> {
  const key = c.req.header('idempotency-key')
  if (key === undefined) return null
  if (key.length === 0 || key.length > KEY_LENGTH_MAX)
    throw new ApiError('invalid_value', {
      param: 'Idempotency-Key',
      message: `Idempotency-Key must have from 1 to ${KEY_LENGTH_MAX} characters.`,
    })
  const fingerprint = await sign(`body of ${asker}${canonical(body)}`, c.env.ADMIN_KEY)
  const key_hash = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(key))
  return { endpoint: endpointOf(c), key_hash: hex(new Uint8Array(key_hash)), fingerprint: hex(bytesOf(fingerprint)) }
}

/** Throws or answers what a verdict of the database says; null where the request is to run. */
export async function answerTo(c: Call, verdict: Decided): Promise<Response | null> {
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
      return replay(c, verdict as Decided & Kept)
    default:
      return null
  }
}

/** Seals a result and keeps it. A result that cannot be kept is still the answer. */
export async function keepResult(
  c: Call,
  { account_id, request_id, idempotency }: { account_id: string; request_id: string; idempotency: Idempotency },
  { status, content_type, bytes }: { status: number; content_type: string; bytes: Uint8Array<ArrayBuffer> },
): Promise<void> {
  if (bytes.length > RESULT_BYTES_MAX) return
  const body = base64(await seal(bytes, await sealingKey(c, account_id)))
  const item = { account_id, request_id, idempotency, status, content_type, body }
  await askTeller(c.env, 'keep_result', { shard_by: account_id, items: [item] }).catch((error: unknown) => {
    if (!(error instanceof ApiError)) throw error
    console.error(`${request_id}: the result of an idempotent request was not kept`)
  })
}

/** Passes a stream on and keeps it, if it comes whole to its end: before the client sees that, a repeated request finds it. */
export function keepStream(
  c: Call,
  claim: { account_id: string; request_id: string; idempotency: Idempotency },
  answer: Response,
): Response {
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
        await keepResult(c, claim, { status: answer.status, content_type, bytes: whole })
    },
  })
  return new Response(answer.body!.pipeThrough(keeper as never), answer)
}

/**
 * A POST that is no generation: claimed, carried out by `next`, and its result kept where it did something. The result may hold a
 * secret that is more than another key of the account may have: it is the asking key's alone, and to any other a mismatch.
 */
export async function once(c: Call, asker: object, text: string, next: () => Promise<Response>): Promise<Response> {
  const idempotency = await idempotencyOf(c, text, c.var.key_hash ?? '')
  if (!idempotency) return next()
  const item = { ...asker, idempotency, request_id: c.var.request_id, lease_ms: LEASE_MS }
  const shard_by = idempotency.key_hash
  const [verdict] = await askTeller<Decided>(c.env, 'claim_request', { shard_by, items: [item] })
  if (verdict!.decision !== 'claimed') return (await answerTo(c, verdict!)) ?? next() // an unknown key is refused where all are
  const { account_id, request_id } = verdict as Decided & Kept
  c.set('operation', {
    id: request_id,
    seed: await sign(`of ${request_id} ${await secretOf(c, account_id)}`, c.env.ADMIN_KEY),
  })
  const claim = { account_id, request_id, idempotency }
  try {
    const answer = await next()
    const bytes = new Uint8Array(await answer.clone().arrayBuffer())
    const content_type = answer.headers.get('content-type') ?? ''
    await keepResult(c, claim, { status: answer.status, content_type, bytes })
    return answer
  } catch (error) {
    // What was refused changed nothing, and the next try may be another one. What failed may have: it is done again as itself.
    const forget = error instanceof ApiError && error.status < 500
    await askTeller(c.env, 'release_request', { shard_by, items: [{ ...claim, forget }] }).catch(() => {})
    throw error
  }
}

async function replay(c: Call, kept: Kept): Promise<Response> {
  const bytes = await unseal(bytesOf(kept.body), await sealingKey(c, kept.account_id))
  if (!bytes) throw new ApiError('idempotency_lost', { param: 'Idempotency-Key' }) // sealed with a secret that was changed since
  c.set('request_id', kept.request_id) // the one it was billed under
  return new Response(bytes, {
    status: kept.status,
    headers: { 'content-type': kept.content_type, 'cache-control': 'no-cache', 'idempotency-replayed': 'true' },
  })
}

function endpointOf(c: Call): string {
  return `${c.req.method} ${c.req.path}`
}

/** The same for the same fields in any order; text that is no JSON is itself. (Its depth was not checked yet: no recursion.) */
function canonical(body: string): string {
  try {
    return JSON.stringify(JSON.parse(body), sortFields)
  } catch {
    return body
  }
}

function sortFields(_: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
}

// Of the caller's own words, which are nowhere else.
async function secretOf(c: Call, account_id: string): Promise<string> {
  return sign(`idempotency of ${account_id}, ${endpointOf(c)}: ${c.req.header('idempotency-key')}`, c.env.ADMIN_KEY)
}

async function sealingKey(c: Call, account_id: string) {
  const bytes = bytesOf(await secretOf(c, account_id))
  return crypto.subtle.importKey('raw', bytes, 'AES-GCM', false, ['encrypt', 'decrypt'])
}

type SealingKey = Awaited<ReturnType<typeof sealingKey>>
const IV_BYTES = 12

async function seal(bytes: Uint8Array<ArrayBuffer>, key: SealingKey): Promise<Uint8Array<ArrayBuffer>> {
  const iv = crypto.getRandomValues(new Uint8Array(IV_BYTES))
  const sealed = new Uint8Array(await crypto.subtle.encrypt({ name: 'AES-GCM', iv }, key, bytes))
  const all = new Uint8Array(IV_BYTES + sealed.length)
  all.set(iv)
  all.set(sealed, IV_BYTES)
  return all
}

async function unseal(all: Uint8Array<ArrayBuffer>, key: SealingKey): Promise<ArrayBuffer | null> {
  const iv = all.slice(0, IV_BYTES)
  return crypto.subtle.decrypt({ name: 'AES-GCM', iv }, key, all.slice(IV_BYTES)).catch(() => null)
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
}

function base64(bytes: Uint8Array): string {
  let binary = ''
  for (let i = 0; i < bytes.length; i += 32_768) binary += String.fromCharCode(...bytes.subarray(i, i + 32_768))
  return btoa(binary)
}

/** Of base64 as Postgres writes it, in lines, or of base64url. */
function bytesOf(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(atob(text.replaceAll('-', '+').replaceAll('_', '/')), (c) => c.charCodeAt(0))
}
