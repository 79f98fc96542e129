// What all streams bring, on its way to the listener: in steps, one after the other, each with all that came meanwhile. Whoever brings
// something waits until it was taken, so that no more of an answer is read than is delivered.

import type { Run, RunEvent, RunnerListener } from '../runner.ts'

/** A run that may be stopped before what it brought is taken. */
export interface StoppableRun extends Run {
  readonly is_stopped: boolean
  /** Ends it alone. */
  fail(error: unknown): void
}

/** An event that is made when it is taken, and counts then. */
export interface Brought {
  run: StoppableRun
  event: () => RunEvent
}

export class HandOut {
  #listener: RunnerListener | null = null
  #brought: Brought[] = []
  #failed: StoppableRun[] = []
  #taken = Promise.withResolvers<void>()
  #is_running = false
  #last_step_ms = performance.now()

  open(listener: RunnerListener): void {
    this.#listener = listener
  }

  get last_step_age_ms(): number {
    return Math.round(performance.now() - this.#last_step_ms)
  }

  /** Resolves when it was taken, or its run was stopped before. */
  bring(brought: Brought): Promise<void> {
    this.#brought.push(brought)
    return this.#next()
  }

  /** The run failed; what it brought before comes first. */
  fail(run: StoppableRun): void {
    this.#failed.push(run)
    void this.#next()
  }

  #next(): Promise<void> {
    const { promise } = this.#taken
    if (!this.#is_running) {
      this.#is_running = true
      this.#run().catch((error: unknown) => this.#listener!.onFailed(error))
    }
    return promise
  }

  // After a failure it stays running: nothing is handed out again.
  async #run(): Promise<void> {
    await null // what comes in the same turn goes in the same step
    while (this.#brought.length + this.#failed.length > 0) {
      const [brought, failed, taken] = [this.#brought, this.#failed, this.#taken]
      this.#brought = []
      this.#failed = []
      this.#taken = Promise.withResolvers()
      this.#last_step_ms = performance.now()
      await this.#listener!.onStep({
        at_ms: this.#last_step_ms,
        computed_tokens: null,
        events: unstopped(brought),
        failed,
      })
      taken.resolve()
    }
    this.#is_running = false
  }
}

// Asked one by one, because one that is stopped while others are taken has no more events. One that cannot be made ends its run alone.
function* unstopped(all: readonly Brought[]): Generator<RunEvent> {
  for (const brought of all) {
    const event = brought.run.is_stopped ? null : madeOf(brought)
    if (event) yield event
  }
}

function madeOf({ run, event }: Brought): RunEvent | null {
  try {
    return event()
  } catch (error) {
    run.fail(error)
    return null
  }
}
