// What the gateway asks of the ledger, typed. All of it is decided in SQL (migrations/), in batches, by the teller.

import type { NodeStatus, SettleOutcome, UsageRecord } from '../../contract/sync.ts'
import type { Ticket } from '../../contract/ticket.ts'
import { askTeller, type Decided } from '../db/ask-teller.ts'
import type { Env } from '../env.ts'
import { ApiError, type ErrorCode } from '../error.ts'
import type { CostCeiling } from './cost-ceiling.ts'

export interface LiveNode {
  id: string
  url: string
  running: number
  waiting: number
}

export interface Admission {
  account_id: string
  key_id: string
  price_version: number
  reserved_nanousd: string
  balance_nanousd: string
  nodes: LiveNode[]
}

interface AdmissionRequest extends CostCeiling {
  request_id: string
  key_hash: string
  model: string
  ttl_ms: number
}

const refusals: Record<string, ErrorCode> = {
  unknown_key: 'invalid_api_key',
  revoked_key: 'invalid_api_key',
  expired_key: 'invalid_api_key',
  missing_scope: 'missing_scope',
  model_not_allowed: 'model_not_allowed',
  no_price: 'model_unavailable',
  no_node: 'model_unavailable',
  insufficient_quota: 'insufficient_quota',
  not_found: 'not_found',
}

/** Reserves what the request could cost at most, or throws the refusal. */
export async function admit(env: Env, request: AdmissionRequest): Promise<Admission> {
  const [answer] = await askTeller<Decided & Admission>(env, 'admit', { shard_by: request.key_hash, items: [request] })
  return unlessRefused(answer!, 'admitted')
}

/** Whether attempt `ticket.attempt` may now run; earlier ones can no longer settle. */
export async function fence(env: Env, ticket: Ticket): Promise<boolean> {
  const [answer] = await askTeller(env, 'fence', { shard_by: ticket.account_id, items: [ticket] })
  return answer!.decision === 'fenced'
}

export async function giveBack(env: Env, ticket: Ticket): Promise<void> {
  await askTeller(env, 'void', { shard_by: ticket.account_id, items: [ticket] })
}

/** What settle made of each record of one account. */
export async function settle(
  env: Env,
  settlements: { ticket: Ticket; record: UsageRecord }[],
): Promise<SettleOutcome[]> {
  const items = settlements.map(({ ticket, record: { ticket: _, ...counts } }) => ({ ...ticket, ...counts }))
  const answers = await askTeller(env, 'settle', { shard_by: settlements[0]!.ticket.account_id, items })
  return answers.map(({ decision }) => (decision === 'failed' ? 'rejected' : (decision as SettleOutcome)))
}

export async function noteNode(env: Env, node: NodeStatus): Promise<void> {
  await askTeller(env, 'settle', { shard_by: node.node_id, items: [{ node }] })
}

/** One of the reads an account's key allows (migrations/0007_reads.sql). */
export async function read<A>(env: Env, name: string, item: { key_hash: string }): Promise<A> {
  const [answer] = await askTeller<Decided & A>(env, name, { shard_by: item.key_hash, items: [item] })
  return unlessRefused(answer!, 'allowed')
}

function unlessRefused<A extends Decided>(answer: A, wanted: string): A {
  if (answer.decision === wanted) return answer
  throw new ApiError(refusals[answer.decision] ?? 'internal_error')
}
