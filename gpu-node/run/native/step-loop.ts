// Runs the engine: schedule, step, apply; and while the next step runs, delivers what the last one made. Where it looks ahead,
// that next step is in the engine's hands before the last one is read, so that the engine never waits for this thread. One
// wake-up a step. Delivery is journal first, then one socket write a stream; many streams are served over several turns of
// the event loop, so that whoever else waits for it is not kept waiting by all of them.

import type { Outcome } from '../../../contract/internal/generation.ts'
import type { Choice, EarlyEnd, Generation } from '../../answer/generation.ts'
import type { Journal } from '../../meter/journal.ts'
import type { Client } from '../../serve/client.ts'
import type { Metrics } from '../../serve/metrics.ts'
import { DrainRate } from './drain-rate.ts'
import type { Engine, StepResult } from './engine.ts'
import type { Scheduler, SequenceOutput, Step } from './scheduler.ts'
import type { Sequence } from './sequence.ts'
import { StepCostEstimate } from './step-cost.ts'

export interface StepLoopOptions {
  engine: Engine
  scheduler: Scheduler
  journal: Journal
  metrics: Metrics
  looks_ahead: boolean
  on_finished: () => void // something finished: worth a report
  on_failed: (error: unknown) => void // the engine is lost; every client has been told
}

interface Stream {
  generation: Generation
  client: Client
}

type StepInFlight = Step & { result: Promise<StepResult> }

export class StepLoop {
  readonly #options: StepLoopOptions
  readonly #streams = new Map<Generation, Stream>()
  readonly #cost = new StepCostEstimate()
  readonly #by_sequence = new Map<Sequence, { stream: Stream; choice: Choice }>()
  readonly #rate = new DrainRate()
  #is_running = false
  #step_began: number | null = null // while one is in flight
  #last_step_ended = performance.now()
  #idle = Promise.withResolvers<void>()

  constructor(options: StepLoopOptions) {
    this.#options = options
    this.#idle.resolve()
  }

  /** Milliseconds the step in flight has taken, or null when none is. */
  get step_in_flight_ms(): number | null {
    return this.#step_began === null ? null : Math.round(performance.now() - this.#step_began)
  }

  get last_step_age_ms(): number {
    return Math.round(performance.now() - this.#last_step_ended)
  }

  /** After how many seconds what waits now is likely to be done. */
  get queue_s(): number {
    return this.#rate.secondsFor(this.#by_sequence.keys().filter(({ state }) => state === 'waiting'))
  }

  start(generation: Generation, client: Client): void {
    const stream = { generation, client }
    if (this.#streams.size === 0) this.#idle = Promise.withResolvers()
    this.#streams.set(generation, stream)
    for (const choice of generation.choices) {
      this.#by_sequence.set(choice.sequence, { stream, choice })
      this.#options.scheduler.submit(choice.sequence)
    }
    this.#kick()
  }

  /** Ends a generation before its time; its blocks are free at once. One that ended by itself, and is being told so, stays so. */
  stop(generation: Generation, outcome: EarlyEnd): void {
    const stream = this.#streams.get(generation)
    if (!stream || generation.outcome !== null) return
    generation.close(outcome)
    for (const { sequence } of generation.choices) this.#forget(sequence)
    this.#book([stream])
    this.#write(stream)
    this.#kick() // the blocks may be what others wait for
  }

  /** Ends those of these requests that run here. */
  revoke(request_ids: string[]): void {
    if (request_ids.length === 0) return
    const revoked = new Set(request_ids)
    for (const generation of [...this.#streams.keys()])
      if (revoked.has(generation.request_id)) this.stop(generation, 'revoked')
  }

  stopAll(outcome: 'deadline' | 'error'): void {
    for (const generation of [...this.#streams.keys()]) this.stop(generation, outcome)
  }

  /** A paused generation keeps its place and gets no tokens. */
  setPaused(generation: Generation, paused: boolean): void {
    for (const { sequence } of generation.choices) sequence.paused = paused
    if (!paused) this.#kick()
  }

  /** Resolves when no generation is left. */
  whenIdle(): Promise<void> {
    return this.#idle.promise
  }

  #kick(): void {
    if (this.#is_running) return
    this.#is_running = true
    this.#run().catch((error: unknown) => this.#fail(error))
  }

  async #run(): Promise<void> {
    let step = this.#begin()
    while (step) {
      const ahead = this.#options.looks_ahead ? this.#begin() : null
      const result = await step.result
      this.#measure(step)
      const outputs = this.#options.scheduler.apply(step, result)
      this.#step_began = ahead && this.#last_step_ended
      const next = ahead ?? this.#begin()
      await this.#deliver(step, outputs) // while the next step runs
      step = this.#ifWanted(next) ?? this.#begin()
    }
    // In the same turn as the last look at the schedule: whoever starts later kicks. (After a failure it stays: nothing runs again.)
    this.#is_running = false
  }

  // A step ahead began when the one before it ended.
  #measure({ batch }: Step): void {
    const now = performance.now()
    const step_ms = now - this.#step_began!
    this.#last_step_ended = now
    this.#rate.step(batch.tokens.length, step_ms / 1000)
    this.#cost.observe(batch.tokens.length, step_ms)
  }

  // Whoever comes now need not wait for a step whose every sequence has ended: the engine runs theirs behind it.
  #ifWanted(step: StepInFlight | null): StepInFlight | null {
    if (step && this.#options.scheduler.isWanted(step)) return step
    this.#step_began = null
    return null
  }

  #begin(): StepInFlight | null {
    const step = this.#options.scheduler.schedule(this.#cost.cost)
    if (!step) return null
    const now = performance.now()
    this.#step_began ??= now
    for (const { sequence } of step.parts) sequence.first_step_at_ms ??= now
    const result = this.#options.engine.step(step.batch)
    result.catch(() => {}) // awaited in #run, but perhaps only after a delivery
    return { ...step, result }
  }

  async #deliver(step: Step, outputs: SequenceOutput[]): Promise<void> {
    const turn = new Turn(this.#last_step_ended)
    const drawn: Choice[] = []
    const touched = new Set<Stream>()
    for (const output of outputs) {
      const known = this.#by_sequence.get(output.sequence)
      if (!known) continue // a stop string ended it, in the same step; or somebody else, since
      this.#take(known, output)
      drawn.push(known.choice)
      touched.add(known.stream)
      await turn.mayEnd()
    }
    this.#options.metrics.step(step.batch.tokens.length, drawn, this.#last_step_ended)
    const streams = [...touched].filter(({ generation }) => this.#streams.has(generation))
    this.#book(streams)
    for (const stream of streams) {
      await turn.mayEnd()
      this.#write(stream)
    }
  }

  #take({ stream, choice }: { stream: Stream; choice: Choice }, output: SequenceOutput): void {
    stream.generation.take(choice, output)
    if (choice.finish_reason === null) return
    this.#forget(output.sequence)
    this.#rate.ended(choice.output_tokens)
  }

  // Journal before socket: a token the client has seen is a token that is billed.
  #book(streams: Stream[]): void {
    for (const { generation } of streams) generation.markDelivered()
    const ended = streams.filter(({ generation }) => generation.outcome !== null)
    const open = streams.filter(({ generation }) => generation.outcome === null)
    this.#options.journal.step(
      open.map(({ generation }) => generation.counts()),
      ended.map(({ generation }) => generation.record(generation.outcome as Outcome)),
    )
    if (ended.length > 0) this.#options.on_finished()
  }

  #write({ generation, client }: Stream): void {
    if (!this.#streams.has(generation)) return // it was stopped since, and told so
    if (generation.outcome === null) {
      client.write(generation.answer.take())
      return
    }
    this.#options.metrics.ended(generation)
    client.end(generation.answer.take(), statusOf(generation.outcome))
    this.#streams.delete(generation)
    if (this.#streams.size === 0) this.#idle.resolve()
  }

  #forget(sequence: Sequence): void {
    this.#options.scheduler.cancel(sequence)
    this.#by_sequence.delete(sequence)
  }

  // An engine error is final (a CUDA error is sticky): tell every client, keep the meter right, leave the rest to a restart.
  #fail(error: unknown): void {
    this.stopAll('error')
    this.#options.on_failed(error)
  }
}

const TURN_MS = 2
const FLUSH_ITEMS = 8

/** A turn of the event loop, that ends after so much work. */
class Turn {
  #began: number
  #items = 0

  constructor(began: number) {
    this.#began = began
  }

  async mayEnd(): Promise<void> {
    // Sockets send what they were given when a tick ends, and that is most of the work.
    if (++this.#items % FLUSH_ITEMS === 0) await new Promise(process.nextTick)
    if (performance.now() - this.#began < TURN_MS) return
    await new Promise(setImmediate)
    this.#began = performance.now()
  }
}

// Of an unstreamed answer; a stream's head was sent when it began.
function statusOf(outcome: Outcome | null): number {
  if (outcome === 'revoked') return 403
  return outcome === 'error' ? 503 : 200
}
