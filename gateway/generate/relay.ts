// From an admission to the client's bytes: signs the ticket, asks a node, and passes its body on untouched (bytes that never
// enter JavaScript cost a third of the CPU). Settles nothing: the node reports what it counted, so a worker may die here.

import type { GenerateRequest, NodeErrorCode } from '../../contract/internal/generation.ts'
import { sign, signTicket, type Ticket } from '../../contract/internal/ticket.ts'
import { type Admission, fence, giveBack, type LiveNode } from '../billing/ledger.ts'
import { askNode, type NodeAnswer } from '../engine/ask.ts'
import { pickNode } from '../engine/pick.ts'
import type { Call } from '../env.ts'
import { ApiError, type ErrorCode } from '../error.ts'
import { UNBUFFERED } from '../unbuffered.ts'
import type { CostCeiling } from './cost-ceiling.ts'

export interface Generation {
  request: GenerateRequest
  admission: Admission
  ceiling: CostCeiling
  duration_ms_max: number // since the request came
  client: AbortSignal // when the one it is for leaves
}

export async function relay(c: Call, generation: Generation): Promise<Response> {
  const ticket = await firstTicket(c, generation)
  if (generation.client.aborted) return abandon(c, ticket)
  const { nodes } = generation.admission
  const first = pickNode(nodes)
  let answer = first ? await attempt(c, { node: first, ticket, ...generation }) : 'unreachable'
  const second = pickNode(nodes.filter((node) => node !== first))
  if (second && mayMoveOn(answer) && msLeft(c, ticket) > 0) {
    ticket.attempt += 1
    if (await fence(c.env, ticket)) answer = await attempt(c, { node: second, ticket, ...generation })
  }
  if (answer !== 'unreachable' && 'accepted' in answer) return passOn(c, answer.accepted)
  await giveBack(c.env, ticket)
  throw refusal(answer)
}

/** A client that left while its request was admitted: no node has heard of it, so nothing need be held for it. */
async function abandon(c: Call, ticket: Ticket): Promise<Response> {
  await giveBack(c.env, ticket)
  return new Response(null, { status: 499 }) // nobody reads it
}

async function firstTicket(c: Call, { request, admission, ceiling, duration_ms_max }: Generation): Promise<Ticket> {
  return {
    request_id: request.request_id,
    attempt: 1,
    account_id: admission.account_id,
    cache_salt: await cacheSalt(admission.account_id, c.env.ADMIN_KEY),
    key_id: admission.key_id,
    model: request.model,
    price_version: admission.price_version,
    reserved_nanousd: admission.reserved_nanousd,
    ...ceiling,
    duration_ms_max,
  }
}

const salts = new Map<string, string>()
const SALTS_MAX = 10_000

/** The same for an account each time. By a secret that nodes do not have: else one could make the salt of any account it knows. */
async function cacheSalt(account_id: string, secret: string): Promise<string> {
  const known = salts.get(account_id)
  if (known) return known
  const salt = await sign(`prefix cache of ${account_id}`, secret)
  if (salts.size >= SALTS_MAX) salts.clear()
  salts.set(account_id, salt)
  return salt
}

// A node stops at the ticket's deadline by itself; this is for one that does not.
const GRACE_MS = 5_000

async function attempt(
  c: Call,
  { node, ticket, request, client }: { node: LiveNode; ticket: Ticket; request: GenerateRequest; client: AbortSignal },
): Promise<NodeAnswer> {
  const duration_ms_max = Math.max(1, msLeft(c, ticket))
  return askNode(node.url, {
    ticket: await signTicket({ ...ticket, duration_ms_max }, c.env.NODE_SECRET),
    request,
    client,
    ms_max: duration_ms_max + GRACE_MS,
  })
}

// The ticket's deadline counts from the request's arrival; a node's from when it gets the ticket.
function msLeft(c: Call, { duration_ms_max }: Ticket): number {
  return duration_ms_max - (Date.now() - c.get('started_ms'))
}

// Only before the first byte, and only where another node may answer otherwise.
function mayMoveOn(answer: NodeAnswer): boolean {
  if (answer === 'unreachable') return true
  return 'refused' in answer && ['overloaded', 'draining', 'engine_failed'].includes(answer.refused.code)
}

function passOn(c: Call, answer: Response): Response {
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
  invalid_constraint: 'invalid_response_format',
  overloaded: 'overloaded',
  draining: 'model_unavailable',
  bad_ticket: 'internal_error',
  bad_request: 'internal_error',
  ceiling_exceeded: 'internal_error',
  unknown_special: 'internal_error',
  engine_failed: 'internal_error',
}

const MENDABLE: ReadonlySet<ErrorCode> = new Set([
  'context_length_exceeded',
  'invalid_token_id',
  'invalid_response_format',
])

function refusal(answer: Exclude<NodeAnswer, { accepted: Response }>): ApiError {
  if (answer === 'unreachable') return new ApiError('model_unavailable')
  const code = refusals[answer.refused.code] ?? 'internal_error'
  if (code === 'internal_error') console.error(`node refused: ${answer.refused.code}: ${answer.refused.message}`)
  if (code === 'overloaded') return new ApiError(code, { headers: retryAfter(answer.retry_after_s) })
  return new ApiError(code, MENDABLE.has(code) ? { message: answer.refused.message, param: answer.refused.param } : {})
}

const RETRY_S_MAX = 60

// The node measured when its queue will be done; the table has the time for one that did not say.
function retryAfter(seconds: number | null): Record<string, string> {
  return seconds === null ? {} : { 'retry-after': String(Math.min(RETRY_S_MAX, Math.max(1, seconds))) }
}
