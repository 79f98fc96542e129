// One choice at an engine behind an address: asked, read, counted and turned into events. It goes to another address only while nothing
// of its answer has come; what was computed for an attempt that gave nothing is billed to nobody.

import type { FinishReason } from '../../../contract/internal/generation.ts'
import type { UsageSource } from '../../../contract/internal/sync.ts'
import type { RunChoice, RunEvent } from '../runner.ts'
import { ChoiceText, type EchoedToken } from '../text/choice-text.ts'
import type { Address, Addresses } from './addresses.ts'
import { partsOf } from './answer.ts'
import { ChoiceMeter, type Habit } from './choice-meter.ts'
import type { Chunk } from './chunk.ts'
import { type Connection, connectionError } from './connection.ts'
import type { Dialect } from './dialect.ts'
import type { HandOut, StoppableRun } from './hand-out.ts'
import { type Asked, questionOf } from './question.ts'
import { UpstreamError } from './upstream-error.ts'
import type { Vocabulary } from './vocabulary.ts'
import type { Watch } from './watch.ts'

/** What all choices of a runner share. */
export interface Upstream {
  addresses: Addresses
  connection: Connection
  dialect: Dialect
  hand_out: HandOut
  watch: Watch
  vocabulary: Vocabulary | null
  /** How long the count is waited for behind the end of an answer. */
  last_word_ms_max: number
  /** Names how an engine is asked. */
  fingerprint: string
}

export interface ChoiceOptions {
  run: StoppableRun
  index: number
  asked: Asked
  request_id: string
}

/** A piece of the answer, and what is known of its tokens. */
interface Piece {
  text: string
  listed: readonly EchoedToken[]
  ids: readonly number[]
}

const TRIES_MAX = 3

/** How an engine says that it could not come to an end. */
const BROKEN_OFF = new Set(['abort', 'error'])

export class UpstreamChoice implements RunChoice {
  readonly prompt_tokens_max: number
  readonly output_tokens_max: number
  begun_at_ms: number | null = null
  /** Its last event was taken. */
  is_over = false
  /** What the engine that answers calls itself. */
  fingerprint: string | null = null
  readonly #options: ChoiceOptions
  readonly #upstream: Upstream
  readonly #meter: ChoiceMeter
  readonly #text: ChoiceText
  readonly #hang_up = new AbortController()
  #habit: Habit = { pieces_are_tokens: null }
  #counted = 0 // in events that were taken
  #half = '' // of a code point
  #last: Chunk | null = null // with its end
  #resumed: PromiseWithResolvers<void> | null = null

  constructor(options: ChoiceOptions, upstream: Upstream) {
    const { prompt, max_tokens, request } = options.asked
    const count = upstream.vocabulary ? (text: string) => upstream.vocabulary!.count(text) : null
    this.#options = options
    this.#upstream = upstream
    this.#meter = new ChoiceMeter({ prompt, output_tokens_max: max_tokens, count })
    this.#text = new ChoiceText(request, request.echo ? prompt.echo : '')
    this.prompt_tokens_max = prompt.tokens_max
    this.output_tokens_max = max_tokens
  }

  get prompt_tokens(): number {
    return this.#meter.prompt_tokens
  }

  get cached_tokens(): number {
    return this.#meter.cached_tokens
  }

  get source(): UsageSource {
    return this.#meter.source(this.#habit)
  }

  /** Runs to its end, or until somebody ends it; rejects with an `UpstreamError`. */
  async generate(): Promise<void> {
    const tried = new Set<Address>()
    let fault = new UpstreamError('unreachable', 'no address answers')
    while (tried.size < TRIES_MAX) {
      const address = this.#upstream.addresses.pick(tried)
      if (!address) throw fault
      tried.add(address)
      try {
        return await this.#generateAt(address)
      } catch (error) {
        if (this.is_over || this.#hang_up.signal.aborted) return
        fault = connectionError(error)
        this.#upstream.watch.noteFault(address, fault)
        if (this.begun_at_ms !== null || !fault.may_differ_elsewhere) throw fault
      }
    }
    throw fault
  }

  /** Nothing more of it is wanted. */
  hangUp(): void {
    this.#hang_up.abort()
    this.#resumed?.resolve()
  }

  /** Ends it with what it still holds. */
  cut(): RunEvent {
    this.hangUp()
    this.#meter.close(this.#habit)
    return this.#event({ text: this.#half, listed: [], ids: [] }, 'length')
  }

  setPaused(is_paused: boolean): void {
    if (!is_paused) this.#resumed?.resolve()
    this.#resumed = is_paused ? (this.#resumed ?? Promise.withResolvers()) : null
  }

  async #generateAt(address: Address): Promise<void> {
    address.in_flight++
    this.#habit = address.habit
    const patience = new AbortController()
    const signal = AbortSignal.any([this.#hang_up.signal, patience.signal])
    let timer: NodeJS.Timeout | undefined
    try {
      for await (const part of partsOf(await this.#ask(address, signal))) {
        this.begun_at_ms ??= performance.now()
        if (part === 'end') return await this.#end()
        await this.#take(part)
        if (this.is_over) return
        if (this.#last) timer ??= setTimeout(() => patience.abort(), this.#upstream.last_word_ms_max)
        await this.#resumed?.promise
      }
    } catch (error) {
      if (!patience.signal.aborted || this.#hang_up.signal.aborted) throw error
    } finally {
      clearTimeout(timer)
      address.in_flight--
    }
    if (!this.#last) throw new UpstreamError('cut', 'the answer ended before its end')
    await this.#end()
  }

  #ask(address: Address, signal: AbortSignal) {
    const { asked, request_id } = this.#options
    const { path, body } = questionOf(asked, this.#upstream.dialect)
    const model = address.settings.model ?? asked.model
    const priority = address.settings.has_priority && asked.request.priority === 'batch' ? { priority: 1 } : {}
    const headers = { accept: 'text/event-stream', 'x-request-id': request_id }
    return this.#upstream.connection.ask(address, { path, body: { model, ...body, ...priority }, headers, signal })
  }

  async #take(chunk: Chunk): Promise<void> {
    this.fingerprint = chunk.fingerprint ?? this.fingerprint
    if (this.#last) return this.#meter.hear(chunk.usage) // a text behind its end is none of it
    const text = this.#whole(chunk.text)
    const ids = chunk.token_ids ?? []
    const listed = chunk.tokens ?? []
    if (this.#meter.is_full && text !== '') return this.#cutOff()
    this.#meter.take(text, chunk.tokens?.length ?? chunk.token_ids?.length ?? null)
    this.#meter.hear(chunk.usage)
    if (chunk.finish !== null) {
      if (BROKEN_OFF.has(chunk.finish)) throw new UpstreamError('failed', `it ended by ${chunk.finish}`)
      this.#last = { ...chunk, text }
      return
    }
    if (text === '' && ids.length + listed.length === 0) return
    await this.#bring(() => this.#event({ text, listed, ids }, null))
  }

  /** An engine that does not end where it was told to. */
  async #cutOff(): Promise<void> {
    await this.#bring(() => this.cut())
    this.hangUp()
  }

  async #end(): Promise<void> {
    const { text = '', tokens = null, token_ids = null, finish = null, stop = null } = this.#last ?? {}
    this.#meter.close(this.#habit)
    const end = finish === 'length' ? 'length' : 'stop'
    const piece = { text: text + this.#half.toWellFormed(), listed: tokens ?? [], ids: token_ids ?? [] }
    await this.#bring(() => this.#event(piece, end, stop))
  }

  #bring(event: () => RunEvent): Promise<void> {
    return this.#upstream.hand_out.bring({ run: this.#options.run, event })
  }

  #event({ text, listed, ids }: Piece, finish: FinishReason | null, engine_stop: string | null = null): RunEvent {
    const tokens = this.#meter.completionTokens(this.#habit) - this.#counted
    this.#counted += tokens
    const { request } = this.#options.asked
    const delivery = this.#text.takePiece({ text, tokens, listed: request.logprobs === null ? [] : listed }, finish)
    this.is_over = delivery.finish !== null
    const stop = delivery.stop ?? (request.stop.includes(engine_stop ?? '') ? engine_stop : null)
    const { run, index } = this.#options
    const event = { run, choice: index, text: delivery.text, tokens, logprobs: delivery.logprobs }
    return { ...event, finish: delivery.finish, stop, ...(request.return_token_ids && { token_ids: ids }) }
  }

  /** Without half a code point at its end, and with the one that was held back. */
  #whole(text: string): string {
    const joined = this.#half + text
    this.#half = /[\ud800-\udbff]$/.test(joined) ? joined.slice(-1) : ''
    return joined.slice(0, joined.length - this.#half.length).toWellFormed()
  }
}
