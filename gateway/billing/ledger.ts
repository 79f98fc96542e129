// What the gateway asks of the ledger for a generation: admits it, gives it to its next attempt, hears its node, settles what that
// counted, gives its money back; and whom it may ask beside one. All of it is decided in SQL (migrations/), in batches, by the teller.

import type { JournalPosition, SettleOutcome, SyncResponse, UsageRecord } from '../../contract/internal/sync.ts'
import type { OpenedTicket } from '../../contract/internal/ticket.ts'
import { ask, askAll, type Failed, obtain, shardOf } from '../db/ask.ts'
import type { Answer, Item, LaneName } from '../db/functions.ts'
import { refusalOf } from '../db/refusal.ts'
import { type Env, settingsOf } from '../env.ts'
import { ApiError } from '../error.ts'

export type Admission = Extract<Answer<'admit'>, { decision: 'admitted' }>
export type LiveNode = Admission['nodes'][number]

/** What is known of a request with an Idempotency-Key that was asked before. */
export type Verdict = Extract<
  Answer<'admit'>,
  {
    decision:
      | 'kept'
      | 'idempotency_mismatch'
      | 'idempotency_running'
      | 'idempotency_lost'
      | 'idempotency_resumable'
      | 'idempotency_unknown'
  }
>
/** A stream with an Idempotency-Key that runs, or has just ended, and the nodes of which one may have it. */
export type RunningStream = Extract<Verdict, { decision: 'idempotency_resumable' }>

/** Reserves what the request could cost at most, or throws the refusal; or says what is known of one that was asked before. */
export async function admit(env: Env, request: Item<'admit'>, lane?: LaneName): Promise<Admission | Verdict> {
  const answer = await ask(env, 'admit', { ...request, lock_ms_max: lockMsMax(env) }, lane)
  switch (answer.decision) {
    case 'admitted':
    case 'kept':
    case 'idempotency_mismatch':
    case 'idempotency_running':
    case 'idempotency_lost':
    case 'idempotency_resumable':
    case 'idempotency_unknown':
      return answer
    default:
      throw refusalOf(answer)
  }
}

/** The nodes that live and serve a model, for a key that may use it; throws the refusal of any other. */
export async function findNodes(env: Env, asked: Item<'find_nodes'>): Promise<LiveNode[]> {
  return (await obtain(env, 'find_nodes', asked, 'found')).nodes
}

/** The base of an adapter, for a key that may use it; null where there is no such adapter. */
export async function baseOf(env: Env, asked: Item<'find_nodes'>): Promise<string | null> {
  return (await obtain(env, 'find_nodes', asked, 'found')).base
}

/** How long an account is waited for that somebody else holds: what then remains is enough for all that go in the same call. */
export function lockMsMax(env: Env): number {
  return Math.ceil(settingsOf(env).database_ms_max * 0.3)
}

/** What was held for a request, and the attempt that it is given to. */
export type Reservation = Item<'void'>

/** Whether this attempt may now run; earlier ones can no longer settle. */
export async function fence(env: Env, { request_id, account_id, attempt }: Reservation): Promise<boolean> {
  return (await ask(env, 'fence', { request_id, account_id, attempt })).decision === 'fenced'
}

export async function giveBack(env: Env, reservation: Reservation): Promise<void> {
  await ask(env, 'void', reservation)
}

/**
 * Notes that a node lives, or throws why it is not heard. Returns which of the requests that it runs may not run any longer, which
 * ledger this is, and how far the node's journal is counted.
 */
export async function hearNode(
  env: Env,
  said: Item<'hear_node'>,
): Promise<{ stop: string[]; ledger_id: string; journal?: Counted | undefined; jobs?: number | undefined }> {
  const answer = await ask(env, 'hear_node', said)
  if (answer.decision === 'seen') return answer
  if (answer.decision === 'stale_report') throw new ApiError('stale_report', { message: ageOf(answer.skew_ms) })
  throw refusalOf(answer)
}

function ageOf(skew_ms: number): string {
  const seconds = (Math.abs(skew_ms) / 1000).toFixed(1)
  return skew_ms < 0
    ? `This report is ${seconds} s old by the clock of the ledger: the clock of the node is behind, or the report was held up.`
    : `This report is from ${seconds} s ahead by the clock of the ledger: the clock of the node is wrong.`
}

export interface Settlement {
  ticket: OpenedTicket
  record: UsageRecord
}

/**
 * Settles what a node reports: one call for each shard that has an account of these. Returns what became of each record, in order,
 * `retry` where it could not be decided now, and how far the node's journal is counted.
 */
export async function settle(
  env: Env,
  { node_id, journal }: Reporter,
  settlements: Settlement[],
): Promise<{ outcomes: SettleOutcome[]; counted: Counted[] }> {
  const decided = new Map<Settlement, Settled>()
  const counted: Counted[] = []
  const shards = Map.groupBy(settlements, ({ ticket }) => shardOf(env, ticket.account_id))
  const settleShard = async (own: Settlement[]) => {
    const items = own.map((settlement) => ({ ...settleItem(settlement), journal, lock_ms_max: lockMsMax(env) }))
    const answers = await askAll(env, 'settle', items).catch(nullWhenUnavailable)
    for (const answer of answers ?? []) if ('journal' in answer && answer.journal) counted.push(answer.journal)
    own.forEach((settlement, i) => void decided.set(settlement, answers?.[i] ?? { decision: 'retry' }))
  }
  await Promise.all(Array.from(shards.values(), settleShard))
  const outcomes = settlements.map((settlement) => outcomeOf(env, node_id, settlement, decided.get(settlement)!))
  return { outcomes: await Promise.all(outcomes), counted }
}

interface Reporter {
  node_id: string
  journal?: JournalPosition | undefined
}

export type Counted = NonNullable<SyncResponse['journal']>

/** A report goes in several calls, each of which counts on. */
export function furthest(counted: Counted[]): Counted | null {
  if (counted.length === 0) return null
  return { mark: Math.max(...counted.map(({ mark }) => mark)), is_behind: counted.some(({ is_behind }) => is_behind) }
}

/** What the database, or nobody, said of a record. */
type Settled = Answer<'settle'> | Failed | { decision: 'retry' }

async function outcomeOf(env: Env, node_id: string, settlement: Settlement, settled: Settled): Promise<SettleOutcome> {
  switch (settled.decision) {
    case 'failed':
      return keepUnsettled(env, node_id, {
        kind: 'refused',
        sqlstate: settled.sqlstate,
        record: settleItem(settlement),
      })
    case 'locked':
      return 'retry'
    case 'seen':
      throw new Error('a record was answered as a heartbeat')
    default:
      return settled.decision
  }
}

interface Unsettled {
  kind: 'refused' | 'bad_ticket' | 'other_node'
  sqlstate?: string
  record: { request_id: string }
}

// A login, a right, a database or a function is missing, or the server is broken: then it is no fault of the record.
const NOT_OF_THE_RECORD = /^(28|3D|3F|42|XX)/

/** Writes a record down that will never be settled, for a person to look at. Only then may its node forget it. */
export async function keepUnsettled(env: Env, node_id: string, unsettled: Unsettled): Promise<SettleOutcome> {
  const { record, kind, sqlstate = null } = unsettled
  if (sqlstate && NOT_OF_THE_RECORD.test(sqlstate)) return 'retry'
  const items = [{ request_id: record.request_id, kind, node_id, sqlstate, record: { ...record } }]
  const answers = await askAll(env, 'keep_unsettled', items).catch(nullWhenUnavailable)
  const [kept] = answers ?? []
  if (kept?.decision === 'elsewhere') return 'elsewhere'
  return kept?.decision === 'kept' ? 'rejected' : 'retry'
}

function settleItem({ ticket, record: { ticket: _, ...counts } }: Settlement) {
  const { request_id, attempt, account_id, key_id, model, price_version, reserved_nanousd, issued_unix_ms, node_id } =
    ticket
  const reservation = { request_id, attempt, account_id, key_id, model, price_version, reserved_nanousd }
  return { ...reservation, issued_unix_ms, node_id, ...counts }
}

function nullWhenUnavailable(error: unknown): null {
  if (error instanceof ApiError) return null
  throw error
}
