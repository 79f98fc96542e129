// The one who reads a job's answer: the gateway, which keeps it piece by piece. What it has acknowledged counts as delivered. An attempt
// after the first says again what is stored; that is compared, and skipped.

import { createHash } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  JOB_CHUNK_LENGTH_MAX,
  type JobAnswer,
  type JobChunk,
  type JobEnd,
  type JobReport,
  type JobUsage,
  type StoredStream,
} from '../../contract/internal/job.ts'
import type { Reader } from './streams.ts'

export interface JobReaderOptions {
  stored: StoredStream
  is_streamed: boolean
  usage: () => JobUsage
  /** Tells the gateway until it is answered. */
  report: (told: Pick<JobReport, 'chunk' | 'end'>) => Promise<JobAnswer['decision']>
  pace_ms: number // between two pieces, so that a fast stream is few writes of the database
}

export class JobReader implements Reader {
  readonly is_patient = true
  readonly #options: JobReaderOptions
  readonly #hash = createHash('sha256') // of all that is stored
  #at: StoredStream // after what is stored
  #length = 0 // of all that was said
  #unsent = ''
  #tokens = 0
  #delivered_tokens = 0
  #end: JobEnd | null = null
  #wake = Promise.withResolvers<void>()
  readonly #ended = Promise.withResolvers<void>()

  constructor(options: JobReaderOptions) {
    this.#options = options
    this.#at = options.stored
  }

  get delivered_tokens(): number {
    return this.#delivered_tokens
  }

  write(bytes: string, tokens: number): void {
    if (!this.#options.is_streamed || this.#end) return
    this.#add(bytes)
    this.#tokens = tokens
    this.#wake.resolve()
  }

  end(bytes: string, status: number): void {
    this.#end ??= this.#endOf(bytes, status)
    this.#wake.resolve()
    this.#ended.resolve()
  }

  /** Resolves when the gateway has all of it, or wants no more of it. */
  async run(): Promise<void> {
    while (true) {
      if (this.#unsent === '' && !this.#end) await this.#wake.promise
      this.#wake = Promise.withResolvers()
      if (await this.#send()) return
      if (!this.#end) await Promise.race([sleep(this.#options.pace_ms), this.#ended.promise])
    }
  }

  /** Sends what there is, at most a chunk. True when nothing is left to be sent, for good. */
  async #send(): Promise<boolean> {
    const tokens = this.#tokens
    const text = this.#unsent.slice(0, chunkLength(this.#unsent))
    const is_last = text.length === this.#unsent.length && this.#end !== null
    const stored_tokens = text.length === this.#unsent.length ? tokens : this.#delivered_tokens
    const chunk = text === '' ? undefined : { ...this.#chunkOf(text), tokens: stored_tokens }
    const decision = await this.#options.report({ chunk, end: is_last ? this.#endNow() : undefined })
    if (decision === 'lost') return true
    if (chunk) this.#at = { ...chunk, chunk_count: chunk.chunk_count + 1 }
    this.#hash.update(text)
    this.#unsent = this.#unsent.slice(text.length)
    if (this.#unsent === '') this.#delivered_tokens = tokens
    return is_last
  }

  #endNow(): JobEnd | undefined {
    const end = this.#end ?? undefined
    return end?.kind === 'answered' ? { ...end, delivered_tokens: this.#delivered_tokens } : end
  }

  #chunkOf(text: string): JobChunk {
    const { chunk_count, event_count, length } = this.#at
    return {
      chunk_count,
      event_count: event_count + text.split('\n\n').length - 1,
      length: length + text.length,
      sha256: this.#hash.copy().update(text).digest('hex'),
      text,
    }
  }

  #add(text: string): void {
    const { length, sha256 } = this.#options.stored
    const skipped = Math.max(0, Math.min(text.length, length - this.#length))
    this.#hash.update(text.slice(0, skipped))
    this.#length += text.length
    if (skipped > 0 && this.#length >= length && this.#hash.copy().digest('hex') !== sha256) {
      this.#end = { kind: 'diverged' }
      return
    }
    this.#unsent += text.slice(skipped)
  }

  #endOf(bytes: string, status: number): JobEnd {
    if (status === 403) return { kind: 'stopped' }
    if (status !== 200) return { kind: 'returned' }
    if (!this.#options.is_streamed)
      return { kind: 'answered', answer: bytes, usage: this.#options.usage(), delivered_tokens: 0 }
    this.#add(bytes)
    if (this.#end) return this.#end
    if (this.#length < this.#options.stored.length) return { kind: 'diverged' }
    return { kind: 'answered', answer: lastResponse(bytes), usage: this.#options.usage(), delivered_tokens: 0 }
  }
}

/** Whole events, at least one. */
function chunkLength(text: string): number {
  if (text.length <= JOB_CHUNK_LENGTH_MAX) return text.length
  const end = text.lastIndexOf('\n\n', JOB_CHUNK_LENGTH_MAX - 2)
  return (end > 0 ? end : text.indexOf('\n\n')) + 2
}

/** What the event that ends a stream says of the response. */
function lastResponse(events: string): string {
  const { response } = JSON.parse(events.slice(events.lastIndexOf('\ndata: ') + 7)) as { response: object }
  return JSON.stringify(response)
}
