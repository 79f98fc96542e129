// The generations that run here, each with the client that reads it. What a step made is delivered journal first, then with one
// write to each socket; many streams are served over several turns of the event loop.

import type { Outcome } from '../../contract/internal/generation.ts'
import type { Choice, EarlyEnd, Generation } from '../answer/generation.ts'
import type { Journal } from '../meter/journal.ts'
import type { Run, RunEvent, RunnerListener, RunStep } from '../run/runner.ts'
import type { Client } from './client.ts'
import type { Metrics } from './metrics.ts'
import { Turn } from './turn.ts'

export interface StreamsOptions {
  journal: Pick<Journal, 'step' | 'is_written' | 'written'>
  metrics: Pick<Metrics, 'step' | 'ended'>
  on_finished: (is_awaited: boolean) => void // something finished: worth a report, at once where somebody waits for its end
  /** Resolves once what it took is settled, or cannot be soon. */
  whenSettled: (record: { request_id: string; attempt: number }) => Promise<void>
  on_failed: (error: unknown) => void // the runner is lost; every client has been told
  on_fault?: (error: unknown) => void // one answer failed alone; its client is told
}

export type Reader = Pick<Client, 'write' | 'end' | 'delivered_tokens'> & { readonly is_patient?: boolean }

interface Stream {
  generation: Generation
  reader: Reader
}

export class Streams implements RunnerListener {
  readonly #options: StreamsOptions
  readonly #streams = new Map<Run, Stream>()
  #idle = Promise.withResolvers<void>()
  #told = 0 // up to where takeRunningIds has come

  constructor(options: StreamsOptions) {
    this.#options = options
    this.#idle.resolve()
  }

  start(generation: Generation, reader: Reader): void {
    if (this.#streams.size === 0) this.#idle = Promise.withResolvers()
    this.#streams.set(generation.run, { generation, reader })
    generation.run.start()
  }

  /** Ends a generation before its time. One that ended by itself, and is being told so, stays so. */
  stop(generation: Generation, outcome: EarlyEnd): void {
    const stream = this.#streams.get(generation.run)
    if (!stream || generation.outcome !== null) return
    generation.close(outcome, generation.run.stop())
    this.#book([stream])
    this.#write(stream)
  }

  /** Whether anything runs here but these. */
  hasOthersThan(these: ReadonlySet<Generation | null>): boolean {
    return this.#streams.values().some(({ generation }) => !these.has(generation))
  }

  /** Requests that run here, at most `limit`: the next ones each time it is asked, so that in a few times it is all. */
  takeRunningIds(limit: number): string[] {
    const ids = [...this.#streams.values()].map(({ generation }) => generation.request_id)
    const from = ids.length > limit ? this.#told % ids.length : 0
    this.#told = from + limit
    return [...ids.slice(from), ...ids.slice(0, from)].slice(0, limit)
  }

  /** Ends those of these requests that run here. */
  revoke(request_ids: string[]): void {
    if (request_ids.length === 0) return
    const revoked = new Set(request_ids)
    for (const { generation } of [...this.#streams.values()])
      if (revoked.has(generation.request_id)) this.stop(generation, 'revoked')
  }

  stopAll(outcome: 'deadline' | 'error'): void {
    for (const { generation } of [...this.#streams.values()]) this.stop(generation, outcome)
  }

  /** Resolves when no generation is left. */
  whenIdle(): Promise<void> {
    return this.#idle.promise
  }

  async onStep(step: RunStep): Promise<void> {
    const turn = new Turn(step.at_ms)
    const touched = await this.#take(step, turn)
    for (const run of step.failed ?? []) this.#closeFailed(run, touched)
    const streams = [...touched].filter(({ generation }) => this.#streams.has(generation.run))
    this.#book(streams)
    // While the disk refuses it, all streams pause: the next step waits for this one.
    while (!this.#options.journal.is_written) await this.#options.journal.written()
    for (const stream of streams) {
      await turn.mayEnd()
      this.#write(stream)
    }
  }

  // A lost runner stays lost (a CUDA error is sticky): tell every client, keep the meter right, leave the rest to a restart.
  onFailed(error: unknown): void {
    this.stopAll('error')
    this.#options.on_failed(error)
  }

  /** Counts what the step made and spells it. Returns the streams that have something of it. */
  async #take({ at_ms, computed_tokens, events }: RunStep, turn: Turn): Promise<Set<Stream>> {
    const touched = new Set<Stream>()
    const drawn: Choice[] = []
    let drawn_tokens = 0
    for (const event of events) {
      const stream = this.#streams.get(event.run)
      if (!stream || stream.generation.outcome === 'error') continue // it was stopped since
      touched.add(stream)
      const choice = this.#spell(stream, event)
      if (choice && event.tokens > 0) drawn.push(choice)
      drawn_tokens += event.tokens
      await turn.mayEnd()
    }
    this.#options.metrics.step({ computed_tokens, drawn_tokens, drawn, at_ms })
    return touched
  }

  /** Null where its answer cannot be written on: that ends this one alone. */
  #spell({ generation }: Stream, event: RunEvent): Choice | null {
    try {
      return generation.take(event)
    } catch (error) {
      this.#options.on_fault?.(error)
      generation.run.stop()
      generation.close('error', [])
      return null
    }
  }

  #closeFailed(run: Run, touched: Set<Stream>): void {
    const stream = this.#streams.get(run)
    if (!stream || stream.generation.outcome !== null) return
    stream.generation.close('error', [])
    touched.add(stream)
  }

  // Journal before socket: a token the client has seen is a token that is billed.
  // What a step is about to deliver it does not count as delivered yet: who is killed between the two has not.
  #book(streams: Stream[]): void {
    const ended = streams.filter(({ generation }) => generation.outcome !== null)
    const open = streams.filter(({ generation }) => generation.outcome === null)
    this.#options.journal.step(
      open.map(({ generation, reader }) => generation.counts(reader.delivered_tokens)),
      ended.map(({ generation, reader }) => generation.record(generation.outcome as Outcome, reader.delivered_tokens)),
    )
    if (ended.length > 0) this.#options.on_finished(!ended.every(({ reader }) => reader.is_patient))
  }

  #write(stream: Stream): void {
    const { generation, reader } = stream
    if (!this.#streams.has(generation.run)) return // it was stopped since, and told so
    if (generation.outcome === null) reader.write(generation.answer.take(), generation.completion_tokens)
    else void this.#end(stream, generation.outcome)
  }

  // Settled before it is seen to end: a client that asks for the next then finds its place, its tokens and its money free.
  async #end({ generation, reader }: Stream, outcome: Outcome): Promise<void> {
    if (!this.#options.journal.is_written) await this.#options.journal.written()
    if (outcome !== 'client_gone') await this.#options.whenSettled(generation)
    if (!this.#streams.has(generation.run)) return // a step came to its end, too
    this.#options.metrics.ended(generation)
    reader.end(generation.answer.take(), statusOf(outcome, generation.run))
    this.#streams.delete(generation.run)
    if (this.#streams.size === 0) this.#idle.resolve()
  }
}

// Only an unstreamed answer of which nothing was sent yet has this status; a stream's head was sent when it began.
function statusOf(outcome: Outcome, { failure }: Run): number {
  if (outcome === 'revoked') return 403
  if (outcome !== 'error') return 200
  return failure === 'context_length_exceeded' || failure === 'refused' ? 400 : 503
}
