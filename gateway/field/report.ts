// What a node reports, as the endpoint takes it and the ledger is given it. Bounded to what the database can hold: a report is signed by
// whoever sends it, and only then it is asked whether they are a node of ours.

import * as z from 'zod'
import type { NodeErrorCode, Outcome } from '../../contract/internal/generation.ts'
import type { UsageSource } from '../../contract/internal/sync.ts'
import { count } from '../../contract/public/scalar.ts'
import { verification } from '../../contract/public/usage.ts'

const smallCount = count.max(2 ** 31 - 1)

/** How a node is. */
export const condition = {
  state: z.enum(['ready', 'draining', 'stopped']),
  context_tokens: smallCount,
  running: smallCount,
  waiting: smallCount,
  blocks_total: smallCount,
  blocks_free: smallCount,
  verifies: z.array(z.string().max(32)).max(16).optional(),
}

/** How far the ledger had counted a node's journal, as the node was told. */
export const journalPosition = z.strictObject({ id: z.guid(), mark: count, is_resending: z.boolean() })

/** How far it is counted now; behind: less far than was acknowledged. */
export const journalCounted = z.strictObject({ mark: count, is_behind: z.boolean() })

const outcomes: [Outcome, ...Outcome[]] = ['stop', 'length', 'client_gone', 'node_lost', 'deadline', 'revoked', 'error']

const usage_sources: [UsageSource, ...UsageSource[]] = ['engine', 'upstream', 'counted', 'bounded']

export const TICKET_LENGTH_MAX = 4096

/** Why a node refuses; the table of refusals (generate/relay.ts) has each. */
export const nodeErrorCode = z.custom<NodeErrorCode>((value) => typeof value === 'string' && value.length < 100)

/** How a generation ended, and what it took. */
export const ended = {
  prompt_tokens: count,
  cached_tokens: count,
  completion_tokens: count,
  delivered_tokens: count,
  outcome: z.enum(outcomes),
  started_unix_ms: z.number(),
  first_token_ms: z.number().nullable(),
  duration_ms: z.number(),
  usage_source: z.enum(usage_sources).optional(),
  verification: verification.optional(),
}
