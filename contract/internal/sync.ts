// What a node reports to `POST /internal/sync` and what it gets back. Authenticated by an HMAC over the body
// (header `x-node-signature`, see ticket.ts). Repeating a report is harmless: settle is idempotent.

import type { Outcome } from './generation.ts'

/** The meter's record of one generation: written to the journal before the bytes it counts reach the socket. */
export interface UsageRecord {
  ticket: string // as the gateway signed it: enough to rebuild a reservation that a crash lost
  request_id: string
  attempt: number
  /** The ledger that admitted it; missing where its gateway named none. */
  ledger_id?: string | undefined
  prompt_tokens: number // summed over prompts; counted once however many choices it feeds
  cached_tokens: number // of these, found in the prefix cache
  completion_tokens: number // generated, over all choices, the end-of-sequence token included
  delivered_tokens: number // of these, written to the client's socket
  outcome: Outcome
  started_unix_ms: number
  first_token_ms: number | null // after the start
  duration_ms: number
}

export interface NodeStatus {
  node_id: string
  url: string // where the gateway reaches it
  model: string // the served id
  state: 'ready' | 'draining'
  context_tokens: number
  running: number
  waiting: number
  blocks_total: number
  blocks_free: number
}

export interface SyncRequest {
  node: NodeStatus
  records: UsageRecord[] // at most SYNC_RECORDS_MAX
}

export const SYNC_RECORDS_MAX = 500
export const NODE_SIGNATURE_HEADER = 'x-node-signature'

/** What settle made of a record. All of them are final for the node except the last two. */
export type SettleOutcome =
  | 'posted'
  | 'duplicate' // already settled with the same counts
  | 'late' // settled after its reservation had expired
  | 'conflict' // already settled with other counts: an anomaly, not charged again
  | 'stale' // an attempt that was superseded: never charged
  | 'voided' // the reservation had been given back: never charged
  | 'rejected' // the ticket is not ours, or the database will never take it: an anomaly, kept whole and not charged
  | 'elsewhere' // of another ledger than the gateway is on now: keep it, and send it when the gateway is on that one
  | 'retry' // not decided (database away): send it again

export interface SyncResponse {
  settled: { request_id: string; attempt: number; outcome: SettleOutcome }[]
  /** Requests that may not run any longer, on whichever node they do. */
  stop?: string[]
  /** The ledger that the gateway is on. */
  ledger_id?: string | undefined
}
