// The meter's memory: what was accepted, counted and finished, in one append-only file of JSON lines. A step appends once,
// before its bytes reach a socket, so a token the client has seen is a token that is billed, whatever is killed when.
// (The page cache survives SIGKILL; no fsync a step.) Acknowledged records are compacted away.

import assert from 'node:assert/strict'
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import type { UsageRecord } from '../../contract/internal/sync.ts'

/** A generation that was accepted and has not finished, as last journalled. */
export type OpenGeneration = Omit<UsageRecord, 'outcome'>

export interface Acceptance {
  ticket: string
  request_id: string
  attempt: number
  prompt_tokens: number
  duration_ms_max: number
}

/** Counts of one open generation after a step. */
export interface StepCounts {
  request_id: string
  attempt: number
  completion_tokens: number
  delivered_tokens: number
  first_token_ms: number | null
  duration_ms: number
}

type Key = string // request_id/attempt

type Line =
  | { accepted: OpenGeneration; used_until_ms: number }
  | { counts: [Key, number, number, number | null, number][]; finished: UsageRecord[] }
  | { acknowledged: Key[] }
  | { used: [Key, number][] } // only in a compacted file: tickets whose records are gone

export interface JournalOptions {
  compact_bytes?: number
  records_max?: number
  now?: () => number
  write?: typeof writeSync // tests fill the disk with it
}

// A ticket has no absolute expiry, so a used one is remembered for its own duration and this much more.
const TICKET_REPLAY_MS = 15 * 60_000

export class Journal {
  readonly #path: string
  readonly #options: Required<JournalOptions>
  readonly #open = new Map<Key, OpenGeneration>()
  readonly #finished = new Map<Key, UsageRecord>()
  readonly #used = new Map<Key, number>() // until when, unix ms
  #file: number | null = null // set by the first compaction
  #bytes = 0
  #compacted_bytes = 0
  #unwritten = '' // lines that a full disk refused

  /** Opens the journal of a data folder. Generations that were open when the last process died become `node_lost`. */
  constructor(data_dir: string, options: JournalOptions = {}) {
    this.#options = { compact_bytes: 4 << 20, records_max: 100_000, now: Date.now, write: writeSync, ...options }
    mkdirSync(data_dir, { recursive: true })
    this.#path = join(data_dir, 'journal.jsonl')
    if (existsSync(this.#path)) this.#replay(readFileSync(this.#path, 'utf8'))
    for (const generation of [...this.#open.values()]) this.#finish({ ...generation, outcome: 'node_lost' })
    if (!this.#compact()) throw new Error(`the disk of ${data_dir} is full`)
  }

  /** False while the disk is full or too many records wait to be acknowledged: nothing new may be accepted. */
  get has_room(): boolean {
    return this.#unwritten === '' && this.#finished.size + this.#open.size < this.#options.records_max
  }

  wasUsed(request_id: string, attempt: number): boolean {
    return (this.#used.get(keyOf({ request_id, attempt })) ?? 0) > this.#options.now()
  }

  /** Records that a generation begins; false where that could not be written, and then it must not begin. */
  accept({ duration_ms_max, ...acceptance }: Acceptance): boolean {
    const started_unix_ms = this.#options.now()
    const none = { cached_tokens: 0, completion_tokens: 0, delivered_tokens: 0, first_token_ms: null, duration_ms: 0 }
    const line: Line = {
      accepted: { ...acceptance, ...none, started_unix_ms },
      used_until_ms: started_unix_ms + duration_ms_max + TICKET_REPLAY_MS,
    }
    if (!this.has_room || !this.#tryWrite(`${JSON.stringify(line)}\n`)) return false
    this.#apply(line)
    return true
  }

  /** Everything one step changed, in one write. A full disk delays it; the running streams go on. */
  step(counts: StepCounts[], finished: UsageRecord[]): void {
    if (counts.length === 0 && finished.length === 0) return
    this.#append({
      counts: counts.map((c) => [keyOf(c), c.completion_tokens, c.delivered_tokens, c.first_token_ms, c.duration_ms]),
      finished,
    })
  }

  /** Finished records that the gateway has not acknowledged, the oldest first. */
  unacknowledged(limit: number): UsageRecord[] {
    return this.#finished.values().take(limit).toArray()
  }

  /** Whether a record of it waits to be acknowledged. */
  isUnsettled(record: { request_id: string; attempt: number }): boolean {
    return this.#finished.has(keyOf(record))
  }

  acknowledge(records: { request_id: string; attempt: number }[]): void {
    const acknowledged = records.map(keyOf).filter((key) => this.#finished.has(key))
    if (acknowledged.length === 0) return
    this.#append({ acknowledged })
    if (this.#bytes > Math.max(this.#options.compact_bytes, 2 * this.#compacted_bytes)) this.#compact()
  }

  /** Tries again what a full disk refused. */
  retry(): void {
    if (this.#unwritten === '' || !this.#tryWrite(this.#unwritten)) return
    this.#unwritten = ''
  }

  close(): void {
    this.retry()
    closeSync(this.#file!)
  }

  #append(line: Line): void {
    this.#apply(line)
    this.#unwritten += `${JSON.stringify(line)}\n`
    this.retry()
  }

  // It writes at our own end of the file: what a failed write left there is overwritten by the next.
  #tryWrite(text: string): boolean {
    const bytes = Buffer.from(text)
    if (!this.#writeWhole(this.#file!, bytes, this.#bytes)) return false
    this.#bytes += bytes.length
    return true
  }

  #writeWhole(file: number, bytes: Buffer, at: number): boolean {
    try {
      return this.#options.write(file, bytes, 0, bytes.length, at) === bytes.length
    } catch (error) {
      if (isDiskFull(error)) return false
      throw error
    }
  }

  #apply(line: Line): void {
    if ('accepted' in line) {
      this.#open.set(keyOf(line.accepted), line.accepted)
      this.#used.set(keyOf(line.accepted), line.used_until_ms)
    } else if ('counts' in line) {
      for (const [key, ...counts] of line.counts) this.#count(key, counts)
      for (const record of line.finished) this.#finish(record)
    } else if ('acknowledged' in line) {
      for (const key of line.acknowledged) this.#finished.delete(key)
    } else {
      for (const [key, until_ms] of line.used) this.#used.set(key, until_ms)
    }
  }

  #count(
    key: Key,
    [completion, delivered, first_token_ms, duration_ms]: [number, number, number | null, number],
  ): void {
    const generation = this.#open.get(key)
    assert(generation, 'counts belong to an open generation')
    generation.completion_tokens = completion
    generation.delivered_tokens = delivered
    generation.first_token_ms = first_token_ms
    generation.duration_ms = duration_ms
  }

  #finish(record: UsageRecord): void {
    this.#open.delete(keyOf(record))
    this.#finished.set(keyOf(record), record)
  }

  #replay(text: string): void {
    for (const line of text.split('\n')) {
      const parsed = parseLine(line)
      if (!parsed) break // the torn end of a write that was killed: nothing of it reached a socket
      this.#apply(parsed)
    }
  }

  /** Rewrites the file with what still matters. The old one stays until the new one is whole. */
  #compact(): boolean {
    const now = this.#options.now()
    for (const [key, until_ms] of this.#used) if (until_ms <= now) this.#used.delete(key)
    const lines: Line[] = [
      { used: [...this.#used] },
      ...[...this.#open].map(([key, accepted]): Line => ({ accepted, used_until_ms: this.#used.get(key) ?? 0 })),
      { counts: [], finished: [...this.#finished.values()] },
    ]
    const bytes = Buffer.from(lines.map((line) => `${JSON.stringify(line)}\n`).join(''))
    if (!this.#replaceFile(bytes)) return false
    this.#unwritten = ''
    this.#bytes = bytes.length
    this.#compacted_bytes = bytes.length
    return true
  }

  #replaceFile(bytes: Buffer): boolean {
    const path = `${this.#path}.new`
    const file = openSync(path, 'w+')
    if (!this.#writeWhole(file, bytes, 0)) {
      closeSync(file)
      rmSync(path)
      return false
    }
    fsyncSync(file)
    renameSync(path, this.#path)
    if (this.#file !== null) closeSync(this.#file)
    this.#file = file
    return true
  }
}

function keyOf({ request_id, attempt }: { request_id: string; attempt: number }): Key {
  return `${request_id}/${attempt}`
}

function parseLine(line: string): Line | null {
  try {
    return line === '' ? null : (JSON.parse(line) as Line)
  } catch {
    return null
  }
}

function isDiskFull(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException).code
  return code === 'ENOSPC' || code === 'EDQUOT'
}
