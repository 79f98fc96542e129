// What the gateway asks of the ledger for a generation: admits it, gives it to its next attempt, settles what its node counted, gives
// its money back. All of it is decided in SQL (migrations/), in batches, by the teller.

import type { NodeStatus, SettleOutcome, UsageRecord } from '../../contract/internal/sync.ts'
import type { Ticket } from '../../contract/internal/ticket.ts'
import { ask, askAll, type Failed, shardOf } from '../db/ask.ts'
import type { Answer, Item } from '../db/functions.ts'
import { refusalOf } from '../db/refusal.ts'
import type { Env } from '../env.ts'
import { ApiError } from '../error.ts'

export type Admission = Extract<Answer<'admit'>, { decision: 'admitted' }>
export type LiveNode = Admission['nodes'][number]

/** What is known of a request with an Idempotency-Key that was asked before. */
export type Verdict = Extract<
  Answer<'admit'>,
  { decision: 'replay' | 'idempotency_mismatch' | 'idempotency_running' | 'idempotency_lost' }
>

/** Reserves what the request could cost at most, or throws the refusal; or says what is known of one that was asked before. */
export async function admit(env: Env, request: Item<'admit'>): Promise<Admission | Verdict> {
  const answer = await ask(env, 'admit', request)
  switch (answer.decision) {
    case 'admitted':
    case 'replay':
    case 'idempotency_mismatch':
    case 'idempotency_running':
    case 'idempotency_lost':
      return answer
    default:
      throw refusalOf(answer)
  }
}

/** Whether attempt `ticket.attempt` may now run; earlier ones can no longer settle. */
export async function fence(env: Env, ticket: Ticket): Promise<boolean> {
  const [answer] = await askAll(env, 'fence', [ticket])
  return answer!.decision === 'fenced'
}

export async function giveBack(env: Env, ticket: Ticket): Promise<void> {
  await askAll(env, 'void', [ticket])
}

export interface Settlement {
  ticket: Ticket
  record: UsageRecord
}

/**
 * Settles what a node reports and notes that it lives: one call for each shard that has an account of these. Returns what became of
 * each record, in order, `retry` where it could not be decided now; the requests that may not run any longer; and which ledger this is.
 */
export async function settle(
  env: Env,
  node: NodeStatus,
  settlements: Settlement[],
): Promise<{ outcomes: SettleOutcome[]; stop: string[]; ledger_id: string | undefined }> {
  let stop: string[] = []
  let ledger_id: string | undefined
  const decided = new Map<Settlement, Settled>()
  const shards = Map.groupBy(settlements, ({ ticket }) => shardOf(env, ticket.account_id))
  const home = shardOf(env, node.node_id)
  if (!shards.has(home)) shards.set(home, [])
  const settleShard = async ([shard, own]: [string, Settlement[]]) => {
    const heartbeat = shard === home ? [{ node }] : []
    const answers = await askAll(env, 'settle', [...own.map(settleItem), ...heartbeat]).catch(nullWhenUnavailable)
    const last = answers?.at(-1)
    if (last?.decision === 'seen') ({ stop, ledger_id } = last)
    own.forEach((settlement, i) => void decided.set(settlement, answers?.[i] ?? { decision: 'retry' }))
  }
  await Promise.all(Array.from(shards, settleShard))
  const outcomes = settlements.map((settlement) => outcomeOf(env, node, settlement, decided.get(settlement)!))
  return { outcomes: await Promise.all(outcomes), stop, ledger_id }
}

/** What the database, or nobody, said of a record. */
type Settled = Answer<'settle'> | Failed | { decision: 'retry' }

async function outcomeOf(env: Env, node: NodeStatus, settlement: Settlement, settled: Settled): Promise<SettleOutcome> {
  switch (settled.decision) {
    case 'failed':
      return keepUnsettled(env, node, {
        kind: 'refused',
        sqlstate: settled.sqlstate,
        record: settleItem(settlement),
      })
    case 'seen':
      throw new Error('a record was answered as a heartbeat')
    default:
      return settled.decision
  }
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
  const items = [{ request_id: record.request_id, kind, node_id, sqlstate, record: { ...record } }]
  const answers = await askAll(env, 'keep_unsettled', items).catch(nullWhenUnavailable)
  const [kept] = answers ?? []
  if (kept?.decision === 'elsewhere') return 'elsewhere'
  return kept?.decision === 'kept' ? 'rejected' : 'retry'
}

function settleItem({ ticket, record: { ticket: _, ...counts } }: Settlement) {
  return { ...ticket, ...counts }
}

function nullWhenUnavailable(error: unknown): null {
  if (error instanceof ApiError) return null
  throw error
}
