// From an admission to the client's bytes: signs the ticket, asks a node, and passes its body on untouched (bytes that never
// enter JavaScript cost a third of the CPU). Settles nothing: the node reports what it counted, so a worker may die here.

import { hmac } from '../../contract/hmac.ts'
import type { GenerateRequest, NodeErrorCode } from '../../contract/internal/generation.ts'
import { bodyHash } from '../../contract/internal/ticket.ts'
import { type Admission, fence, giveBack, type LiveNode, type Reservation } from '../billing/ledger.ts'
import { askNode, type NodeAnswer } from '../engine/ask.ts'
import { pickNode } from '../engine/pick.ts'
import { type Call, dataSecretOf, type Env } from '../env.ts'
import { ApiError, type ErrorCode } from '../error.ts'
import { turnAt } from '../field/read-body.ts'
import { ticketIssuerOf } from '../ticket-issuer.ts'
import { UNBUFFERED } from '../unbuffered.ts'
import type { CostCeiling } from './cost-ceiling.ts'

export interface Generation {
  request: GenerateRequest
  /** The id of the model that is asked, and charged. */
  model: string
  admission: Admission
  ceiling: CostCeiling
  context_tokens: number
  duration_ms_max: number // since the request came
  client: AbortSignal // when the one it is for leaves
  /** How long a node keeps its stream for a client that was lost; missing where it ends with its client. */
  resume_ms_max?: number | undefined
}

export async function relay(c: Call, generation: Generation): Promise<Response> {
  const reservation = firstReservation(generation)
  if (generation.client.aborted) return abandon(c, reservation)
  await turnAt(c, c.get('body')?.text.length ?? 0).catch(async (refusal) => {
    await giveBack(c.env, reservation)
    throw refusal
  })
  const { nodes } = generation.admission
  const body = JSON.stringify(generation.request)
  const asked = { ...generation, reservation, body, body_sha256: await bodyHash(body) }
  const first = pickNode(nodes)
  let answer = first ? await attempt(c, first, asked) : 'unreachable'
  const second = pickNode(nodes.filter((node) => node !== first))
  if (second && mayMoveOn(answer) && msLeft(c, generation) > 0) {
    reservation.attempt += 1
    if (await fence(c.env, reservation)) answer = await attempt(c, second, asked)
  }
  if (answer !== 'unreachable' && 'accepted' in answer) return passOn(c, answer.accepted)
  await giveBack(c.env, reservation)
  throw isPastContext(answer, generation) ? new ApiError('context_length_exceeded') : refusal(answer)
}

/** A prompt is paid for up to the context that the catalog gives the model. Its node may have a longer one. */
function isPastContext(answer: NodeAnswer, { ceiling, context_tokens }: Generation): boolean {
  const is_above = answer !== 'unreachable' && 'refused' in answer && answer.refused.code === 'ceiling_exceeded'
  return is_above && ceiling.prompt_tokens_max >= context_tokens
}

/** A client that left while its request was admitted: no node has heard of it, so nothing need be held for it. */
async function abandon(c: Call, reservation: Reservation): Promise<Response> {
  await giveBack(c.env, reservation)
  return new Response(null, { status: 499 }) // nobody reads it
}

function firstReservation({ request: { request_id }, model, admission }: Generation): Reservation {
  const { account_id, key_id, price_version, reserved_nanousd } = admission
  return { request_id, attempt: 1, account_id, key_id, model, price_version, reserved_nanousd }
}

const salts = new Map<string, string>()
const SALTS_MAX = 10_000

/** The same for an account each time. By a secret that nodes do not have: else one could make the salt of any account it knows. */
async function cacheSalt(account_id: string, secret: string): Promise<string> {
  const known = salts.get(account_id)
  if (known) return known
  const salt = await hmac(`prefix cache of ${account_id}`, secret)
  if (salts.size >= SALTS_MAX) salts.clear()
  salts.set(account_id, salt)
  return salt
}

/** A generation with its body, as it is handed over. */
interface Asked extends Generation {
  reservation: Reservation
  body: string
  body_sha256: string
}

// A node stops at the ticket's deadline by itself; this is for one that does not.
export const GRACE_MS = 5_000

async function attempt(c: Call, node: LiveNode, asked: Asked): Promise<NodeAnswer> {
  const duration_ms_max = Math.max(1, msLeft(c, asked))
  const ticket = await signedTicket(c.env, { ...asked, node_id: node.id, duration_ms_max })
  return askNode(node.url, { ticket, body: asked.body, client: asked.client, ms_max: duration_ms_max + GRACE_MS })
}

interface Permitted
  extends Pick<Asked, 'reservation' | 'body_sha256' | 'ceiling' | 'duration_ms_max' | 'resume_ms_max'> {
  node_id: string
}

// A node takes a ticket when it comes, a moment after it was signed. This is for clocks that differ; a node whose clock is further off
// is not heard, and so not asked (migrations/ledger/nodes.sql, report_age_ms_max).
const TICKET_MS_MAX = 60_000

/** A ticket for one node and this very body. */
export async function signedTicket(
  env: Env,
  { node_id, reservation, body_sha256, ceiling, duration_ms_max, resume_ms_max }: Permitted,
): Promise<string> {
  const { request_id, attempt, model, account_id, key_id, price_version, reserved_nanousd } = reservation
  const issued_unix_ms = Date.now()
  const permission = {
    request_id,
    attempt,
    node_id,
    body_sha256,
    expires_unix_ms: issued_unix_ms + TICKET_MS_MAX,
    cache_salt: await cacheSalt(account_id, dataSecretOf(env)),
    model,
    ...ceiling,
    duration_ms_max,
    ...(resume_ms_max && { resume_ms_max }),
  }
  const issuer = await ticketIssuerOf(env)
  return issuer.issue(permission, { account_id, key_id, price_version, reserved_nanousd, issued_unix_ms })
}

// The ticket's deadline counts from the request's arrival; a node's from when it gets the ticket.
function msLeft(c: Call, { duration_ms_max }: Generation): number {
  return duration_ms_max - (Date.now() - c.get('started_ms'))
}

// Only before the first byte, and only where another node may answer otherwise.
function mayMoveOn(answer: NodeAnswer): boolean {
  if (answer === 'unreachable') return true
  const elsewhere: NodeErrorCode[] = ['overloaded', 'no_room', 'draining', 'engine_failed', 'bad_ticket']
  return 'refused' in answer && elsewhere.includes(answer.refused.code)
}

export function passOn(c: Call, answer: Response): Response {
  return new Response(answer.body, {
    status: answer.status,
    headers: {
      'content-type': answer.headers.get('content-type') ?? 'application/json',
      ...UNBUFFERED,
      'openai-processing-ms': String(Date.now() - c.get('started_ms')),
    },
  })
}

// What a client can mend it is told in the node's words, which name both counts; the rest is our affair.
const refusals: Record<NodeErrorCode, ErrorCode> = {
  context_length_exceeded: 'context_length_exceeded',
  invalid_token_id: 'invalid_token_id',
  no_infill: 'unsupported_parameter',
  wrong_model: 'invalid_value',
  invalid_messages: 'invalid_value',
  invalid_constraint: 'invalid_response_format',
  invalid_tools: 'invalid_function_parameters',
  unsupported: 'unsupported_parameter',
  overloaded: 'overloaded',
  no_room: 'node_has_no_room',
  draining: 'model_unavailable',
  bad_ticket: 'model_unavailable', // of a node that has not heard of our key yet, or whose clock is off
  bad_request: 'internal_error',
  ceiling_exceeded: 'internal_error',
  unknown_special: 'internal_error',
  engine_failed: 'internal_error',
  no_stream: 'internal_error',
}

const MENDABLE: ReadonlySet<ErrorCode> = new Set([
  'context_length_exceeded',
  'invalid_token_id',
  'invalid_value',
  'unsupported_parameter',
  'invalid_response_format',
  'invalid_function_parameters',
  'unsupported_parameter',
])

/** What a node's refusal is to the client. */
export function refusal(answer: Exclude<NodeAnswer, { accepted: Response }>): ApiError {
  if (answer === 'unreachable') return new ApiError('model_unavailable')
  const code = refusals[answer.refused.code] ?? 'internal_error'
  if (code === 'internal_error' || ['bad_ticket', 'no_room'].includes(answer.refused.code))
    console.error(`node refused: ${answer.refused.code}: ${answer.refused.message}`)
  if (code === 'overloaded') return new ApiError(code, { headers: retryAfter(answer.retry_after_s) })
  return new ApiError(code, MENDABLE.has(code) ? { message: answer.refused.message, param: answer.refused.param } : {})
}

const RETRY_S_MAX = 60

// The node measured when its queue will be done; the table has the time for one that did not say.
function retryAfter(seconds: number | null): Record<string, string> {
  return seconds === null ? {} : { 'retry-after': String(Math.min(RETRY_S_MAX, Math.max(1, seconds))) }
}
