// What a node reports to `POST /internal/sync` and what it gets back. A report is signed by the node's own key (ed25519.ts), over the
// body; the headers carry the signature and the public key. A record may be reported again, settle is idempotent; a report may not:
// each has a number of its own, and one that comes again was recorded by somebody.

import type { PublicKey } from '../ed25519.ts'
import type { Outcome } from './generation.ts'

/** Who counted the tokens that are billed. */
export type UsageSource =
  | 'engine' // our own engine
  | 'upstream' // the engine behind an address, by what it said at the end
  | 'counted' // the node, by what came from there: that engine did not say all of it
  | 'bounded' // nobody: they are at least as many, by the bytes of the text

/** The meter's record of one generation: written to the journal before the bytes it counts reach the socket. */
export interface UsageRecord {
  ticket: string // as the gateway signed it: enough to rebuild a reservation that a crash lost
  request_id: string
  attempt: number
  /** The ledger that admitted it; missing where its gateway named none. */
  ledger_id?: string | undefined
  prompt_tokens: number // summed over prompts that began; counted once however many choices it feeds
  cached_tokens: number // of these, found in the prefix cache
  completion_tokens: number // generated, over all choices, the end-of-sequence token included
  delivered_tokens: number // of these, whose text the client's socket took; nothing of an answer that ended as an error
  outcome: Outcome
  started_unix_ms: number
  first_token_ms: number | null // after the start
  duration_ms: number
  /** Of an answer that was to be verified: what was tried. */
  verification?: VerificationCounts | undefined
  /** Missing where it is our own engine. */
  usage_source?: UsageSource | undefined
}

export interface VerificationCounts {
  language: string
  passed: boolean
  candidates: number // that were begun
  attempts: number
}

export interface NodeStatus {
  node_id: string
  url: string // where the gateway reaches it
  model: string // the served id
  state: 'ready' | 'draining' | 'stopped' // stopped: this is its last report
  context_tokens: number
  running: number
  waiting: number
  blocks_total: number
  blocks_free: number
  /** Languages that it verifies answers in; missing where that is off. */
  verifies?: string[] | undefined
}

/** How far the ledger had counted a node's journal. A database that knows less came back older than what it acknowledged. */
export interface JournalPosition {
  id: string // UUID; of the journal, not of the node: folders move
  mark: number // as last acknowledged
  is_resending: boolean // it is being told the last day again
}

/** Which process speaks. Of one data folder a later one follows an earlier one; of two folders only one may speak for a node. */
export interface Boot {
  id: string // UUID, of the process
  folder_id: string // UUID, of the data folder
  number: number // of the process, counted in its folder
}

export interface SyncRequest {
  node: NodeStatus
  boot: Boot
  sequence: number // of the report, counted by its process
  sent_unix_ms: number
  /** Requests that run here: of which of them must stop the answer tells. At most SYNC_RUNNING_MAX, some of them each time. */
  running_ids: string[]
  records: UsageRecord[] // at most SYNC_RECORDS_MAX
  journal?: JournalPosition
  /** How many jobs it has room for now. */
  job_slots?: number | undefined
}

export const SYNC_RECORDS_MAX = 500
export const SYNC_RUNNING_MAX = 500
export const NODE_SIGNATURE_HEADER = 'x-node-signature'
export const NODE_KEY_HEADER = 'x-node-key'
/** Of the gateway's answer: signatures by each of its keys (ticket.ts, signAnswer). */
export const ANSWER_SIGNATURE_HEADER = 'x-answer-signature'

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
  /** Of the requests that were said to run: those that may not any longer. */
  stop: string[]
  /** How far the journal is counted now; `is_behind`: not as far as was acknowledged, so the last day has to be told again. */
  journal?: { mark: number; is_behind: boolean }
  /** How many jobs wait for this node, at most as many as it has room for; missing where there is none. */
  jobs?: number | undefined
  /** The ledger that the gateway is on. */
  ledger_id: string
  /** The gateway's public keys: the one that signs tickets now, and those that will or did. */
  ticket_keys: PublicKey[]
}
