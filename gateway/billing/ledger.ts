// What the gateway asks of the ledger, typed. All of it is decided in SQL (migrations/), in batches, by the teller.

import type { NodeStatus, SettleOutcome, UsageRecord } from '../../contract/internal/sync.ts'
import type { Ticket } from '../../contract/internal/ticket.ts'
import { askTeller, type Decided, shardOf } from '../db/ask.ts'
import type { Env } from '../env.ts'
import { ApiError, type ErrorCode } from '../error.ts'
import type { CostCeiling } from '../generate/cost-ceiling.ts'
import { type Limits, limitHeaders, retryHeaders } from '../limit-headers.ts'

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
  limits?: Limits
}

interface AdmissionRequest extends CostCeiling {
  request_id: string
  key_hash: string
  address: string | null
  model: string
  limits: object
  idempotency?: object
  ttl_ms: number
}

const refusals: Record<string, ErrorCode> = {
  unknown_key: 'invalid_api_key',
  revoked_key: 'invalid_api_key',
  expired_key: 'invalid_api_key',
  missing_scope: 'missing_scope',
  address_not_allowed: 'address_not_allowed',
  exceeds_own_key: 'exceeds_own_key',
  limits_are_shared: 'limits_are_shared',
  too_many_keys: 'too_many_keys',
  already_revoked: 'already_revoked',
  overdraft_in_use: 'overdraft_in_use',
  customer_taken: 'customer_taken',
  unknown_account: 'not_found',
  model_not_allowed: 'model_not_allowed',
  no_price: 'model_unavailable',
  no_node: 'model_unavailable',
  insufficient_quota: 'insufficient_quota',
  requests_per_minute: 'rate_limit_requests',
  tokens_per_minute: 'rate_limit_tokens',
  requests_in_flight: 'rate_limit_in_flight',
  request_too_large: 'request_too_large',
  spend_cap_reached: 'spend_cap_reached',
  not_found: 'not_found',
}

/** Reserves what the request could cost at most, or throws the refusal; or says what is known of one that was asked before. */
export async function admit(env: Env, request: AdmissionRequest): Promise<Admission | Decided> {
  const [answer] = await askTeller<Admission & Decided>(env, 'admit', { shard_by: request.key_hash, items: [request] })
  if (answer!.decision === 'replay' || answer!.decision.startsWith('idempotency_')) return answer!
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

export interface Settlement {
  ticket: Ticket
  record: UsageRecord
}

/**
 * Settles what a node reports and notes that it lives: one call for each shard that has an account of these. Returns what became of
 * each record, in order, `retry` where it could not be decided now; and the requests that may not run any longer.
 */
export async function settle(
  env: Env,
  node: NodeStatus,
  settlements: Settlement[],
): Promise<{ outcomes: SettleOutcome[]; stop: string[] }> {
  let stop: string[] = []
  const decided = new Map<Settlement, Refusable>()
  const shards = Map.groupBy(settlements, ({ ticket }) => shardOf(env, ticket.account_id))
  const home = shardOf(env, node.node_id)
  if (!shards.has(home)) shards.set(home, [])
  const settleShard = async ([shard, own]: [string, Settlement[]]) => {
    const items: object[] = own.map(settleItem)
    if (shard === home) items.push({ node })
    const shard_by = own[0]?.ticket.account_id ?? node.node_id
    const asked = askTeller<Refusable & { stop?: string[] }>(env, 'settle', { shard_by, items })
    const answers = await asked.catch(nullWhenUnavailable)
    if (shard === home) stop = answers?.at(-1)?.stop ?? []
    own.forEach((settlement, i) => void decided.set(settlement, answers?.[i] ?? { decision: 'retry' }))
  }
  await Promise.all(Array.from(shards, settleShard))
  const outcomeOf = async (settlement: Settlement) => {
    const { decision, sqlstate } = decided.get(settlement)!
    if (decision !== 'failed') return decision as SettleOutcome
    return keepUnsettled(env, node, { kind: 'refused', sqlstate: sqlstate!, record: settleItem(settlement) })
  }
  return { outcomes: await Promise.all(settlements.map(outcomeOf)), stop }
}

/** As it is answered by the database, or refused by it. */
interface Refusable extends Decided {
  sqlstate?: string
}

interface Unsettled {
  kind: 'refused' | 'bad_ticket'
  sqlstate?: string
  record: { request_id: string }
}

// A login, a right, a database or a function is missing, or the server is broken: then it is no fault of the record.
const NOT_OF_THE_RECORD = /^(28|3D|3F|42|XX)/

/** Writes a record down that will never be settled, for a person to look at. Only then may its node forget it. */
export async function keepUnsettled(env: Env, { node_id }: NodeStatus, unsettled: Unsettled): Promise<SettleOutcome> {
  const { record, kind, sqlstate = null } = unsettled
  if (sqlstate && NOT_OF_THE_RECORD.test(sqlstate)) return 'retry'
  const items = [{ request_id: record.request_id, kind, node_id, sqlstate, record }]
  const answers = await askTeller(env, 'keep_unsettled', { shard_by: node_id, items }).catch(nullWhenUnavailable)
  return answers?.[0]?.decision === 'kept' ? 'rejected' : 'retry'
}

function settleItem({ ticket, record: { ticket: _, ...counts } }: Settlement) {
  return { ...ticket, ...counts }
}

function nullWhenUnavailable(error: unknown): null {
  if (error instanceof ApiError) return null
  throw error
}

/** One of the reads an account's key allows (migrations/api/usage.sql). */
export async function read<A>(env: Env, name: string, item: { key_hash: string }): Promise<A> {
  return ask(env, name, item)
}

/** Asks for one thing, as a key of an account or as the operator; throws the refusal where the answer is not `wanted`. */
export async function ask<A>(
  env: Env,
  name: string,
  item: { key_hash: string } | { operator: true },
  wanted = 'allowed',
): Promise<A> {
  const shard_by = 'key_hash' in item ? item.key_hash : 'admin'
  const [answer] = await askTeller<Decided & A>(env, name, { shard_by, items: [item] })
  return unlessRefused(answer!, wanted)
}

function unlessRefused<A extends Decided & { param?: string; limits?: Limits }>(answer: A, wanted: string): A {
  if (answer.decision === wanted) return answer
  const param = answer.param ?? (answer.decision === 'unknown_account' ? 'account_id' : null)
  throw new ApiError(refusals[answer.decision] ?? 'internal_error', { param, headers: headersOf(answer.limits) })
}

function headersOf(limits: Limits = {}): Record<string, string> {
  return { ...limitHeaders(limits), ...(limits.retry_us && retryHeaders(limits.retry_us)) }
}
