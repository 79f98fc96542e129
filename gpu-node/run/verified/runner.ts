// A runner that finds the first candidate that passes a request's tests, over any runner that generates them. Requests without tests pass
// through it as they are.

import type { PromptPart, VerifiedLanguage } from '../../../contract/internal/generation.ts'
import { Refusal } from '../../refusal.ts'
import type { HeldConstraint, Run, RunEvent, Runner, RunnerListener, RunRequest, RunStep } from '../runner.ts'
import type { Judges } from './judges.ts'
import { VerifiedRun, type VerifiedRunListener } from './run.ts'

/** Where a request is greedy, its first candidate is what it would have been answered, and the others are drawn: equal ones are of no use. */
const LATER_TEMPERATURE = 1

export interface VerifyingRunnerOptions {
  inner: Runner
  judges: Pick<Judges, 'languages' | 'judge' | 'close'>
  /** Told of an error that ended one run alone. */
  onFault: (error: unknown) => void
}

export class VerifyingRunner implements Runner {
  readonly #inner: Runner
  readonly #judges: Pick<Judges, 'languages' | 'judge' | 'close'>
  readonly #open = new Map<Run, VerifiedRun>() // by the attempt that runs
  readonly #on_fault: (error: unknown) => void
  readonly #told: VerifiedRunListener = {
    began: (run, attempt) => this.#open.set(attempt, run),
    left: (attempt) => this.#open.delete(attempt),
    ended: (run) => this.#tellOf({ events: answerOf(run) }),
    lost: (run, error) => {
      this.#on_fault(error)
      this.#tellOf({ events: [], failed: [run] })
    },
  }
  #listener: RunnerListener | null = null
  #last: Promise<void> = Promise.resolve() // what was told before

  constructor({ inner, judges, onFault }: VerifyingRunnerOptions) {
    this.#inner = inner
    this.#judges = judges
    this.#on_fault = onFault
  }

  get sequence_tokens_max(): number {
    return this.#inner.sequence_tokens_max
  }

  get load(): Runner['load'] {
    return this.#inner.load
  }

  get statistics(): Runner['statistics'] {
    return this.#inner.statistics
  }

  get is_available(): boolean {
    return this.#inner.is_available ?? true
  }

  get verifies(): readonly VerifiedLanguage[] {
    return this.#judges.languages
  }

  open(listener: RunnerListener): Promise<void> {
    this.#listener = listener
    return this.#inner.open({
      onStep: (step) => this.#tell(this.#translated(step)),
      onFailed: (error) => listener.onFailed(error),
    })
  }

  /** What has ended below and waits for its verdict keeps its place, for it may come again. */
  hasRoomFor(choices: number): boolean {
    const runs = new Set(this.#open.values())
    const kept = [...runs].reduce((sum, run) => sum + run.choices_taken - run.choices_below, 0)
    return this.#inner.hasRoomFor(choices + kept)
  }

  hold(...of: Parameters<Runner['hold']>): Promise<HeldConstraint> {
    return this.#inner.hold(...of)
  }

  format(prompts: PromptPart[][]): Promise<PromptPart[][]> {
    return this.#inner.format(prompts)
  }

  prepare(request: RunRequest, cache_salt: string, held: HeldConstraint | null = null): Run {
    const { verify, ...asked } = request
    if (!verify) return this.#inner.prepare(request, cache_salt, held)
    const is_greedy = request.sampling.temperature === 0
    const attempt = { ...asked, n: verify.candidates, ...(is_greedy && { later_temperature: LATER_TEMPERATURE }) }
    return new VerifiedRun({
      verify,
      first: this.#inner.prepare(attempt, cache_salt, held),
      prepare: (prompt) =>
        this.#prepareWithin(verify.repair_tokens_max, async () => {
          const prompts = await this.#inner.format([prompt])
          return this.#inner.prepare({ ...attempt, prompts }, cache_salt, held)
        }),
      judge: (task, signal) => this.#judges.judge(task, { account: cache_salt, signal }),
      told: this.#told,
    })
  }

  encode(...of: Parameters<Runner['encode']>): number[][] {
    return this.#inner.encode(...of)
  }

  decode(tokens: readonly number[]): { text: string; pieces: string[] } {
    return this.#inner.decode(tokens)
  }

  async close(): Promise<void> {
    this.#judges.close()
    await this.#inner.close()
  }

  /** Null where a prompt that has grown is too long, for the context or for what was paid. */
  async #prepareWithin(prompt_tokens_max: number, prepare: () => Promise<Run>): Promise<Run | null> {
    try {
      const run = await prepare()
      return run.prompt_tokens <= prompt_tokens_max ? run : null
    } catch (error) {
      if (error instanceof Refusal) return null
      throw error
    }
  }

  #tellOf(step: Pick<RunStep, 'events' | 'failed'>): void {
    const told = this.#tell({ at_ms: performance.now(), computed_tokens: null, ...step })
    told.catch((error) => this.#listener!.onFailed(error))
  }

  /** One after the other, as the runner below tells its steps. */
  #tell(step: RunStep): Promise<void> {
    const told = this.#last.then(() => this.#listener!.onStep(step))
    this.#last = told.catch(() => {}) // whoever told it hears of it
    return told
  }

  #translated(step: RunStep): RunStep {
    const failed = () => step.failed?.map((run) => this.#failedAs(run)) ?? []
    return {
      at_ms: step.at_ms,
      computed_tokens: step.computed_tokens,
      events: this.#heard(step.events),
      get failed() {
        return failed()
      },
    }
  }

  *#heard(events: Iterable<RunEvent>): Generator<RunEvent> {
    for (const event of events) {
      const run = this.#open.get(event.run)
      const told = run ? run.heard(event) : event
      if (told) yield told
    }
  }

  #failedAs(below: Run): Run {
    const run = this.#open.get(below)
    run?.fail()
    return run ?? below
  }
}

/** Read when its turn has come: by then the run may have been stopped, which took the answer. */
function* answerOf(run: VerifiedRun): Generator<RunEvent> {
  const answer = run.takeAnswer()
  if (answer) yield answer
}
