// What a node reports, as the endpoint takes it and the ledger is given it.

import * as z from 'zod'
import type { Outcome } from '../../contract/internal/generation.ts'
import { count } from '../../contract/public/scalar.ts'

/** How a node is. */
export const condition = {
  state: z.enum(['ready', 'draining']),
  context_tokens: count,
  running: count,
  waiting: count,
  blocks_total: count,
  blocks_free: count,
}

/** How far the ledger had counted a node's journal, as the node was told. */
export const journalPosition = z.strictObject({ id: z.guid(), mark: count, is_resending: z.boolean() })

const outcomes: [Outcome, ...Outcome[]] = ['stop', 'length', 'client_gone', 'node_lost', 'deadline', 'revoked', 'error']

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
}
