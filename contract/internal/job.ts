// Jobs: generations that nobody's connection waits for. A node that has room takes some (`POST /internal/jobs/take`), runs each as what it
// is asked by `POST /generate`, and tells what became of it (`POST /internal/jobs/report`, of several `/internal/jobs/reports`) until it is
// acknowledged. The calls are signed as its reports are, and so are the answers.

import type { NodeError } from './generation.ts'

/** How a node asks for jobs. Asked again by the same take_id it is the same job. */
export interface JobTaking {
  node_id: string
  take_id: string // UUID
  /** For as many jobs more, JOBS_A_TAKE_MAX in all; a gateway of before gives one. */
  further_take_ids?: string[] | undefined
  sent_unix_ms: number
}

export const JOBS_A_TAKE_MAX = 16

/** As many as there were, of those asked for. */
export interface JobsGiven {
  job: TakenJob | null
  further_jobs?: TakenJob[] | undefined
}

export interface TakenJob {
  job_id: string
  request_id: string // of this attempt, and of its ticket
  ticket: string
  body: string // a GenerateRequest, as the ticket is for it
  stored: StoredStream
}

/** How much of a stream is stored: an attempt after the first says it again, and what is there is skipped. */
export interface StoredStream {
  chunk_count: number
  event_count: number
  length: number // UTF-16 units
  sha256: string | null // of all that is stored, hex; null where nothing is
}

export interface JobReport {
  node_id: string
  job_id: string
  ticket: string // of the attempt
  /** The next piece of its stream: whole events. */
  chunk?: JobChunk | undefined
  /** That nothing follows, and why. */
  end?: JobEnd | undefined
}

export interface JobChunk extends Omit<StoredStream, 'sha256'> {
  chunk_count: number // before it
  text: string
  sha256: string
  /** Whose text is stored with it. */
  tokens?: number | undefined
}

export type JobEnd =
  | { kind: 'answered'; answer: string; usage: JobUsage; delivered_tokens: number } // the JSON that a caller who waited would have got
  | { kind: 'refused'; refused: NodeError['error'] } // before it began
  | { kind: 'stopped' } // its key was revoked, or its account suspended
  | { kind: 'returned' } // the node could not bring it to its end
  | { kind: 'diverged' } // it did not say again what is stored of it

export interface JobUsage {
  prompt_tokens: number
  cached_tokens: number
  completion_tokens: number
}

/** Of several jobs at once: answered all, or none. */
export interface JobReports {
  node_id: string
  reports: Omit<JobReport, 'node_id'>[] // JOB_REPORTS_MAX at most
}

export const JOB_REPORTS_MAX = 16

/** In the order of the reports. */
export interface JobAnswers {
  decisions: JobAnswer['decision'][]
}

/** `lost`: the job is not this node's any more, or has ended: what is left of the attempt is to be stopped. */
export interface JobAnswer {
  decision: 'kept' | 'lost'
}

export const JOB_REPORT_BYTES_MAX = 32 << 20
/** What the text of a chunk may have, but for the event that ends a stream, which says all of it again. */
export const JOB_CHUNK_LENGTH_MAX = 256 << 10
