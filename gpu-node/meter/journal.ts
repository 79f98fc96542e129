// The meter's memory: what was accepted, counted and finished, in one append-only file of frames. A step appends once, before its
// bytes reach a socket, so a token the client has seen is a token that is counted, whatever is killed when. (The page cache survives
// SIGKILL; no fsync a step.) What no longer matters is compacted away by size. What was acknowledged is kept for a day (settled.ts).

import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import {
  closeSync,
  existsSync,
  fsyncSync,
  ftruncateSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import * as z from 'zod'
import type { JournalPosition, UsageRecord, UsageSource } from '../../contract/internal/sync.ts'
import { frameOf, readFrames } from './frame.ts'
import { replaceFile } from './replace-file.ts'
import { Resending } from './resending.ts'
import { SettledRecords } from './settled.ts'

/** A generation that was accepted and has not finished, as last journalled. */
export type OpenGeneration = Omit<UsageRecord, 'outcome'>

export interface Acceptance {
  ticket: string
  request_id: string
  attempt: number
  ledger_id?: string | undefined
  duration_ms_max: number
}

/** Counts of one open generation after a step. */
export interface StepCounts {
  request_id: string
  attempt: number
  prompt_tokens: number // 0 until the first step for it
  cached_tokens: number
  completion_tokens: number
  delivered_tokens: number
  first_token_ms: number | null
  duration_ms: number
  usage_source?: UsageSource | undefined
}

type Key = string // request_id/attempt

type Counts = [
  prompt: number,
  cached: number,
  completion: number,
  delivered: number,
  first_token_ms: number | null,
  duration_ms: number,
  usage_source?: UsageSource, // written where it is not our own engine
]
/** Of a release that journalled the prompt once, when it was accepted. */
type OldCounts = [completion: number, delivered: number, first_token_ms: number | null, duration_ms: number]

type Line =
  | { accepted: OpenGeneration; used_until_ms: number }
  | { counts: [Key, ...(Counts | OldCounts)][]; finished: UsageRecord[] }
  | { acknowledged: Key[]; mark?: number }
  | { used: [Key, number][] } // only in a compacted file: tickets whose records are gone
  | { position: JournalPosition }

export interface JournalOptions {
  compact_bytes?: number
  records_max?: number
  now?: () => number
  write?: typeof writeSync // tests fill the disk with it
}

export interface Damage {
  bytes: number
  kept_as: string // the file as it was found
}

// A ticket has no absolute expiry, so a used one is remembered for its own duration and this much more.
const TICKET_REPLAY_MS = 15 * 60_000

const RETRY_MS = 100
const USED_A_LINE = 1000
const PIECE_CHARACTERS = 1 << 20

export class Journal {
  /** What was wrong with the file when it was opened. */
  readonly damage: Damage | null
  readonly #folder: string
  readonly #path: string
  readonly #options: Required<JournalOptions>
  readonly #settled: SettledRecords
  readonly #open = new Map<Key, OpenGeneration>()
  readonly #finished = new Map<Key, UsageRecord>()
  readonly #used = new Map<Key, number>() // until when, unix ms
  #position: JournalPosition = { id: randomUUID(), mark: 0, is_resending: false }
  #resending: Resending | null = null
  #file: number | null = null // set by the first compaction
  #number = 0 // of the last frame
  #bytes = 0
  #compact_at = 0
  #unwritten = '' // frames that the disk refused
  #refusal: string | null = null // the disk's own word for why
  #recovery: PromiseWithResolvers<void> | null = null
  #retry: NodeJS.Timeout | undefined

  /** Opens the journal of a data folder. Generations that were open when the last process died become `node_lost`. */
  constructor(data_dir: string, options: JournalOptions = {}) {
    this.#options = { compact_bytes: 4 << 20, records_max: 100_000, now: Date.now, write: writeSync, ...options }
    mkdirSync(data_dir, { recursive: true })
    this.#folder = data_dir
    this.#path = join(data_dir, 'journal.jsonl')
    this.#settled = new SettledRecords(data_dir, this.#options)
    this.damage = existsSync(this.#path) ? this.#replay() : null
    this.#position = { ...this.#position, id: keptId(data_dir, this.#position.id) }
    if (this.damage) this.#distrustEnds()
    for (const generation of [...this.#open.values()]) this.#finish({ ...generation, outcome: 'node_lost' })
    if (this.#position.is_resending) this.#resending = new Resending(this.#settled)
    if (!this.#compact()) throw new Error(`the disk of ${data_dir} is full`)
  }

  /** False while the disk takes nothing or too many records wait to be acknowledged: nothing new may be accepted. */
  get has_room(): boolean {
    return this.is_written && this.#finished.size + this.#open.size < this.#options.records_max
  }

  /** False while the disk refuses what was to be written: nothing may be delivered then. */
  get is_written(): boolean {
    return this.#unwritten === ''
  }

  /** What an operator should know of it. */
  get health(): { refused_by_disk: string | null; damaged_files: number; unacknowledged: number } {
    const damaged_files = readdirSync(this.#folder).filter((name) => name.startsWith(DAMAGED)).length
    return { refused_by_disk: this.#refusal, damaged_files, unacknowledged: this.#finished.size }
  }

  /** What a report tells of it, so that a database which came back older is noticed. */
  get position(): JournalPosition {
    return this.#position
  }

  wasUsed(request_id: string, attempt: number): boolean {
    return (this.#used.get(keyOf({ request_id, attempt })) ?? 0) > this.#options.now()
  }

  /** Records that a generation begins; false where that could not be written, and then it must not begin. */
  accept({ duration_ms_max, ...acceptance }: Acceptance): boolean {
    const started_unix_ms = this.#options.now()
    const none = { prompt_tokens: 0, cached_tokens: 0, completion_tokens: 0, delivered_tokens: 0 }
    const line: Line = {
      accepted: { ...acceptance, ...none, first_token_ms: null, duration_ms: 0, started_unix_ms },
      used_until_ms: started_unix_ms + duration_ms_max + TICKET_REPLAY_MS,
    }
    if (!this.has_room || !this.#tryWrite(this.#frame(line))) return false
    this.#apply(line)
    return true
  }

  /** Everything one step changed, in one write. Where the disk refuses it, nothing of the step may be delivered yet. */
  step(counts: StepCounts[], finished: UsageRecord[]): void {
    if (counts.length === 0 && finished.length === 0) return
    this.#append({ counts: counts.map((one) => [keyOf(one), ...countsOf(one)]), finished })
  }

  /** Resolves when everything is written. */
  async written(): Promise<void> {
    while (!this.is_written) await this.#recovery?.promise
  }

  /**
   * Finished records that the gateway has not acknowledged, the oldest first; where its ledger is known, those that are owed to it.
   * Behind them those that it is told again.
   */
  unacknowledged(limit: number, ledger_id?: string): UsageRecord[] {
    const own = this.#finished
      .values()
      .filter((record) => !isOwedElsewhere(record, ledger_id))
      .take(limit)
      .toArray()
    return [...own, ...(this.#resending?.next(limit - own.length) ?? [])]
  }

  /** How many are kept for other ledgers than this one. */
  countElsewhere(ledger_id: string | undefined): number {
    return this.#finished.values().reduce((count, record) => count + (isOwedElsewhere(record, ledger_id) ? 1 : 0), 0)
  }

  /** Whether a record of it waits to be acknowledged. */
  isUnsettled(record: { request_id: string; attempt: number }): boolean {
    return this.#finished.has(keyOf(record))
  }

  /**
   * The gateway settled these, for good, and counted up to `mark`. False where the disk did not take them: they are told again.
   */
  acknowledge(records: { request_id: string; attempt: number }[], mark = this.#position.mark): boolean {
    const keys = records.map(keyOf)
    const acknowledged = keys.filter((key) => this.#finished.has(key))
    if (!this.#keep(acknowledged.map((key) => this.#finished.get(key)!))) return false
    if (acknowledged.length > 0) this.#append({ acknowledged, mark })
    else this.#position = { ...this.#position, mark }
    this.#resending?.acknowledge(keys)
    if (this.#resending?.is_over) this.#endResending()
    return true
  }

  /** Of another ledger than the gateway's: kept where they are owed, and not told again here. */
  skip(records: { request_id: string; attempt: number }[]): void {
    this.#resending?.acknowledge(records.map(keyOf))
    if (this.#resending?.is_over) this.#endResending()
  }

  /** The database is older than what it acknowledged: the last day is told again. */
  resend(mark: number): void {
    this.#resending = new Resending(this.#settled)
    this.#append({ position: { ...this.#position, mark, is_resending: true } })
  }

  /** Tries again what the disk refused. */
  retry(): void {
    clearTimeout(this.#retry)
    if (this.is_written) return
    if (!this.#tryWrite(this.#unwritten)) {
      this.#recovery ??= Promise.withResolvers()
      this.#retry = setTimeout(() => this.retry(), RETRY_MS)
      return
    }
    this.#unwritten = ''
    this.#recovery?.resolve()
    this.#recovery = null
  }

  close(): void {
    this.retry()
    clearTimeout(this.#retry)
    closeSync(this.#file!)
  }

  #keep(records: UsageRecord[]): boolean {
    try {
      if (records.length > 0) this.#settled.add(records)
      return true
    } catch (error) {
      return refusalOf(error) === null ? thrown(error) : false
    }
  }

  #endResending(): void {
    this.#resending = null
    this.#append({ position: { ...this.#position, is_resending: false } })
  }

  #append(line: Line): void {
    this.#apply(line)
    this.#unwritten += this.#frame(line)
    this.retry()
    if (this.is_written && this.#bytes > this.#compact_at && !this.#compact()) this.#compact_at = 2 * this.#bytes
  }

  #frame(line: Line): string {
    return frameOf(++this.#number, JSON.stringify(line))
  }

  // It writes at our own end of the file, and what a failed write left behind that is cut off.
  #tryWrite(text: string): boolean {
    const bytes = Buffer.from(text)
    if (!this.#writeWhole(this.#file!, bytes, this.#bytes)) {
      cutOff(this.#file!, this.#bytes)
      return false
    }
    this.#bytes += bytes.length
    return true
  }

  #writeWhole(file: number, bytes: Buffer, at: number): boolean {
    try {
      this.#refusal = this.#options.write(file, bytes, 0, bytes.length, at) === bytes.length ? null : 'ENOSPC'
    } catch (error) {
      this.#refusal = refusalOf(error) ?? thrown(error)
    }
    return this.#refusal === null
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
      this.#position = { ...this.#position, mark: line.mark ?? this.#position.mark }
    } else if ('used' in line) {
      for (const [key, until_ms] of line.used) this.#used.set(key, until_ms)
    } else {
      this.#position = line.position
    }
  }

  /** Where damage took the line that accepted it, nobody knows its ticket any more. */
  #count(key: Key, counts: Counts | OldCounts): void {
    const generation = this.#open.get(key)
    assert(generation || this.#file === null, 'counts belong to an open generation')
    if (!generation) return
    const { prompt_tokens, cached_tokens } = generation
    const [prompt, cached, completion, delivered, first_token_ms, duration_ms, usage_source]: Counts =
      counts.length === 4 ? [prompt_tokens, cached_tokens, ...counts] : counts
    generation.prompt_tokens = prompt
    generation.cached_tokens = cached
    generation.completion_tokens = completion
    generation.delivered_tokens = delivered
    generation.first_token_ms = first_token_ms
    generation.duration_ms = duration_ms
    if (usage_source) generation.usage_source = usage_source
  }

  #finish(record: UsageRecord): void {
    const key = keyOf(record)
    const ledger_id = record.ledger_id ?? this.#open.get(key)?.ledger_id
    this.#open.delete(key)
    this.#finished.set(key, { ...record, ...(ledger_id && { ledger_id }) })
    if (!this.#used.has(key)) this.#used.set(key, this.#options.now() + TICKET_REPLAY_MS)
  }

  #replay(): Damage | null {
    const file = openSync(this.#path, 'r')
    let bytes = 0
    for (const found of readFrames(file)) {
      if (found.kind === 'damage') bytes += found.bytes
      if (found.kind !== 'frame') continue
      // A number that came before is a copy of an older line.
      if (found.number !== null && found.number <= this.#number) continue
      this.#number = found.number ?? this.#number
      this.#apply(JSON.parse(found.json) as Line)
    }
    closeSync(file)
    if (bytes === 0) return null
    const kept_as = join(this.#folder, `${DAMAGED}${this.#options.now()}.jsonl`)
    linkSync(this.#path, kept_as)
    return { bytes, kept_as }
  }

  /**
   * Damage may have taken how much was acknowledged, by which a database that came back older would be noticed; so the last day is told
   * again. What is told again has ended, though damage may have taken that, too.
   */
  #distrustEnds(): void {
    for (const record of this.#settled) this.#open.delete(keyOf(record))
    this.#position = { ...this.#position, is_resending: true }
  }

  /** Rewrites the file with what still matters. The old one stays until the new one is whole. */
  #compact(): boolean {
    const now = this.#options.now()
    for (const [key, until_ms] of this.#used) if (until_ms <= now) this.#used.delete(key)
    const path = `${this.#path}.new`
    const file = openSync(path, 'w+')
    const bytes = this.#writeLines(file, this.#state())
    if (bytes === null) {
      closeSync(file)
      rmSync(path)
      return false
    }
    fsyncSync(file)
    renameSync(path, this.#path)
    if (this.#file !== null) closeSync(this.#file)
    this.#file = file
    this.#bytes = bytes
    this.#compact_at = Math.max(this.#options.compact_bytes, 2 * bytes)
    return true
  }

  /** One generation a line, so that damage to one costs no other. */
  *#state(): Generator<Line> {
    yield { position: this.#position }
    const used = [...this.#used]
    for (let i = 0; i < used.length; i += USED_A_LINE) yield { used: used.slice(i, i + USED_A_LINE) }
    for (const [key, accepted] of this.#open) yield { accepted, used_until_ms: this.#used.get(key) ?? 0 }
    for (const record of this.#finished.values()) yield { counts: [], finished: [record] }
  }

  #writeLines(file: number, lines: Iterable<Line>): number | null {
    let written_bytes = 0
    let piece = ''
    const flush = () => {
      const bytes = Buffer.from(piece)
      piece = ''
      if (!this.#writeWhole(file, bytes, written_bytes)) return false
      written_bytes += bytes.length
      return true
    }
    for (const line of lines) {
      piece += this.#frame(line)
      if (piece.length > PIECE_CHARACTERS && !flush()) return null
    }
    return flush() ? written_bytes : null
  }
}

const DAMAGED = 'journal.damaged-'

const id_of_a_journal = z.guid()

/** Kept beside the journal, which would be another one if damage took its id; `own` is what the journal itself says. */
function keptId(folder: string, own: string): string {
  const file = join(folder, 'journal-id')
  const kept = id_of_a_journal.safeParse(existsSync(file) ? readFileSync(file, 'utf8').trim() : null)
  if (kept.success) return kept.data
  replaceFile(file, `${own}\n`)
  return own
}

function keyOf({ request_id, attempt }: { request_id: string; attempt: number }): Key {
  return `${request_id}/${attempt}`
}

/** A record that names no ledger, or where the gateway names none, is owed to whichever takes it. */
function isOwedElsewhere(record: UsageRecord, ledger_id: string | undefined): boolean {
  return record.ledger_id !== undefined && ledger_id !== undefined && record.ledger_id !== ledger_id
}

function countsOf(counts: StepCounts): Counts {
  const { prompt_tokens, cached_tokens, completion_tokens, delivered_tokens, first_token_ms, duration_ms } = counts
  const source: [UsageSource?] = counts.usage_source ? [counts.usage_source] : []
  return [prompt_tokens, cached_tokens, completion_tokens, delivered_tokens, first_token_ms, duration_ms, ...source]
}

function cutOff(file: number, length: number): void {
  try {
    ftruncateSync(file, length)
  } catch (error) {
    if (refusalOf(error) === null) throw error
  }
}

// A disk that is full, over its quota, failing or read-only may be well again; anything else is a fault of ours.
const REFUSALS = new Set(['ENOSPC', 'EDQUOT', 'EIO', 'EROFS', 'EFBIG'])

function refusalOf(error: unknown): string | null {
  const { code } = error as NodeJS.ErrnoException
  return code && REFUSALS.has(code) ? code : null
}

function thrown(error: unknown): never {
  throw error
}
