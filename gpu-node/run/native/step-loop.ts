// Runs the engine: schedule, step, apply; and while the next step runs, hands out what the last one made. Where it looks ahead,
// that next step is in the engine's hands before the last one is read, so that the engine never waits for this thread. One
// wake-up a step.

import type { Run, RunEvent, RunnerListener } from '../runner.ts'
import { DrainRate } from './drain-rate.ts'
import type { Engine, StepResult } from './engine.ts'
import type { BrokenOutput, Fault, Scheduler, SequenceOutput, Step } from './scheduler.ts'
import type { Sequence } from './sequence.ts'
import { StepCostEstimate } from './step-cost.ts'

export interface StepLoopOptions {
  engine: Engine
  scheduler: Scheduler
  looks_ahead: boolean
  /** Told of an error that ended one sequence, while the loop goes on. */
  onFault?: (error: unknown) => void
}

/** Whose sequence it is that the loop runs. */
export interface LoopChoice {
  readonly sequence: Sequence
  readonly run: Run
  /** Tokens that were taken. */
  readonly output_tokens: number
  /** Turns what a step made of it into events, of which the last may end the choice. */
  take(output: Exclude<SequenceOutput, BrokenOutput>): Iterable<RunEvent>
}

type StepInFlight = Step & { result: Promise<StepResult>; submitted_at_ms: number }

export class StepLoop {
  readonly #options: StepLoopOptions
  readonly #choices = new Map<Sequence, LoopChoice>()
  readonly #cost = new StepCostEstimate()
  readonly #rate = new DrainRate()
  #listener: RunnerListener | null = null
  #in_flight: StepInFlight[] = [] // in order; two at most
  #failed: Run[] = [] // that nobody was told of yet
  #last_step_ended_ms = performance.now()
  #is_running = false

  constructor(options: StepLoopOptions) {
    this.#options = options
  }

  /** Milliseconds the step in flight has taken, or null when none is. */
  get step_in_flight_ms(): number | null {
    const [step] = this.#in_flight
    return step ? Math.round(performance.now() - this.#beganAt(step)) : null
  }

  get last_step_age_ms(): number {
    return Math.round(performance.now() - this.#last_step_ended_ms)
  }

  /** After how many seconds what waits now is likely to be done. */
  get queue_s(): number {
    return this.#rate.secondsFor(this.#choices.keys().filter(({ state }) => state === 'waiting'))
  }

  open(listener: RunnerListener): void {
    this.#listener = listener
  }

  start(choices: readonly LoopChoice[]): void {
    for (const choice of choices) {
      this.#choices.set(choice.sequence, choice)
      this.#options.scheduler.submit(choice.sequence)
    }
    this.kick()
  }

  /** Ends choices before their time; their blocks are free at once. */
  stop(choices: readonly LoopChoice[]): void {
    for (const choice of choices) this.#forget(choice)
    this.kick() // the blocks may be what others wait for
  }

  /** Goes on, where there may be something to do again. */
  kick(): void {
    if (this.#is_running) return
    this.#is_running = true
    this.#run().catch((error: unknown) => this.#listener!.onFailed(error))
  }

  async #run(): Promise<void> {
    let step = this.#begin()
    while (step || this.#failed.length > 0) {
      if (!step) {
        await this.#handOut(0, [])
        step = this.#begin()
        continue
      }
      const ahead = this.#options.looks_ahead ? this.#begin() : null
      const outputs = await this.#end(step)
      const next = ahead ?? this.#begin()
      await this.#handOut(step.batch.tokens.length, outputs) // while the next one runs
      step = this.#ifWanted(next) ?? this.#begin()
    }
    // This is the same turn as the last look at the schedule: whoever starts later kicks. (After a failure it stays true:
    // nothing runs again.)
    this.#is_running = false
  }

  #begin(): StepInFlight | null {
    const scheduled = this.#options.scheduler.schedule(this.#cost.cost)
    this.#endFaulty(this.#options.scheduler.takeFaults())
    if (!scheduled) return null
    const submitted_at_ms = performance.now()
    for (const { sequence } of scheduled.parts) sequence.first_step_at_ms ??= submitted_at_ms
    const result = this.#options.engine.step(scheduled.batch)
    result.catch(() => {}) // awaited when it ends, which may be after a delivery
    const step = { ...scheduled, result, submitted_at_ms }
    this.#in_flight.push(step)
    return step
  }

  async #end(step: StepInFlight): Promise<SequenceOutput[]> {
    const result = await step.result
    const now = performance.now()
    const step_ms = now - this.#beganAt(step)
    this.#in_flight.shift()
    this.#last_step_ended_ms = now
    this.#rate.step(step.batch.tokens.length, step_ms / 1000)
    this.#cost.observe(step.batch.tokens.length, step_ms)
    const outputs = this.#options.scheduler.apply(step, result)
    this.#endFaulty(this.#options.scheduler.takeFaults())
    return outputs
  }

  // The engine runs one after the other: a step ahead begins when the one before it has ended.
  #beganAt({ submitted_at_ms }: StepInFlight): number {
    return Math.max(submitted_at_ms, this.#last_step_ended_ms)
  }

  // Whoever comes now need not wait for a step whose every sequence has ended: the engine runs theirs behind it.
  #ifWanted(step: StepInFlight | null): StepInFlight | null {
    if (step && this.#options.scheduler.isWanted(step)) return step
    this.#in_flight = []
    return null
  }

  #handOut(computed_tokens: number, outputs: SequenceOutput[]): Promise<void> {
    for (const output of outputs) if ('is_broken' in output) this.#endRunOf(output.sequence)
    const failed = this.#failed
    this.#failed = []
    const at_ms = this.#last_step_ended_ms
    return this.#listener!.onStep({ at_ms, computed_tokens, events: this.#eventsOf(outputs, failed), failed })
  }

  #endFaulty(faults: Fault[]): void {
    for (const { sequence, error } of faults) {
      this.#options.onFault?.(error)
      this.#endRunOf(sequence)
    }
  }

  /** Ends the run of a sequence that goes on no more, all of its choices: one answer has them all. */
  #endRunOf(sequence: Sequence, failed = this.#failed): void {
    const run = this.#choices.get(sequence)?.run
    if (!run) return
    failed.push(run)
    for (const choice of [...this.#choices.values()]) if (choice.run === run) this.#forget(choice)
  }

  /** Runs whose events cannot be made are put to those that failed. */
  *#eventsOf(outputs: SequenceOutput[], failed: Run[]): Generator<RunEvent> {
    for (const output of outputs) {
      const choice = this.#choices.get(output.sequence)
      if (!choice || 'is_broken' in output) continue // a stop string ended it, in the same step; or somebody else, since
      try {
        yield* this.#eventsOfOne(choice, output)
      } catch (error) {
        this.#options.onFault?.(error)
        this.#endRunOf(output.sequence, failed)
      }
    }
  }

  *#eventsOfOne(choice: LoopChoice, output: Exclude<SequenceOutput, BrokenOutput>): Generator<RunEvent> {
    for (const event of choice.take(output)) {
      if (event.finish !== null) {
        this.#forget(choice)
        this.#rate.ended(choice.output_tokens)
      }
      yield event
    }
  }

  #forget({ sequence }: LoopChoice): void {
    this.#options.scheduler.cancel(sequence)
    this.#choices.delete(sequence)
  }
}
