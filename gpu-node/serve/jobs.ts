// The jobs that run here. While the node has room it takes what waits at its gateway, several at a time, or one after the other where
// somebody else is here; each runs as what is asked by HTTP does, and its reader is the gateway.

import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import type { JobAnswer, JobReport, JobTaking, TakenJob } from '../../contract/internal/job.ts'
import type { Generation } from '../answer/generation.ts'
import { CallRefused, type GatewayCalls } from '../meter/gateway-calls.ts'
import { Refusal } from '../refusal.ts'
import { type AcceptanceOptions, type Accepted, accept, endInTime } from './acceptance.ts'
import { JobReader } from './job-reader.ts'
import type { Streams } from './streams.ts'

export interface JobsOptions extends AcceptanceOptions {
  config: AcceptanceOptions['config'] & { jobs_max: number; job_pace_ms: number }
  streams: Streams
  calls: GatewayCalls
  log: Logger
}

interface RunningJob {
  taken: TakenJob
  generation: Generation | null // before it is taken in
}

const CALL_MS_MAX = 10_000
const TAKE_MS_MAX = 25_000 // less than a lease
const TAKES_AT_ONCE = 8
const OTHERS_MS = 2000 // whoever was here may ask again
const REST = 1 // after a take, beside others: so many times what it took
const REST_MS_MAX = 1000
const BACKOFF_MS_MIN = 50
const BACKOFF_MS_MAX = 5000

export class Jobs {
  readonly #options: JobsOptions
  readonly #running = new Set<RunningJob>()
  #takes = 0
  #wanted = 0 // takes that may find something
  #others_seen_ms = Number.NEGATIVE_INFINITY
  #is_released = false

  constructor(options: JobsOptions) {
    this.#options = options
  }

  /** How many more there is room for: none while anything waits for its turn here. */
  get slots(): number {
    const { state, runner, config } = this.#options
    if (this.#is_released || state.draining || state.engine_failed || runner.load.waiting > 0) return 0
    return Math.max(0, config.jobs_max - this.#running.size - this.#takes)
  }

  /** The attempts that are this node's, for as long as the gateway is to know that. */
  get request_ids(): string[] {
    return [...this.#running].map(({ taken }) => taken.request_id)
  }

  /** So many wait at the gateway. */
  offer(count: number): void {
    this.#wanted = Math.max(this.#wanted, count)
    this.#fill()
  }

  /** Gives back what runs, for another node. Resolves when the gateway has it, or does not answer. */
  async release(ms_max: number): Promise<void> {
    this.#is_released = true
    for (const { generation } of this.#running) if (generation) this.#options.streams.stop(generation, 'error')
    const until = performance.now() + ms_max
    while ((this.#running.size > 0 || this.#takes > 0) && performance.now() < until) await sleep(BACKOFF_MS_MIN)
  }

  #fill(): void {
    while (this.#wanted > 0 && this.slots > 0 && this.#takes < this.#takes_max) {
      this.#wanted -= 1
      void this.#takeOne()
    }
  }

  get #takes_max(): number {
    return this.#are_others_here() ? 1 : TAKES_AT_ONCE
  }

  /** Whether somebody waits for what runs here, or may do so again. */
  #are_others_here(): boolean {
    const now = performance.now()
    const own = new Set([...this.#running].map(({ generation }) => generation))
    if (this.#options.streams.hasOthersThan(own)) this.#others_seen_ms = now
    return now - this.#others_seen_ms < OTHERS_MS
  }

  /** After one that was there, there may be more than had been offered. */
  async #takeOne(): Promise<void> {
    this.#takes += 1
    try {
      const began = performance.now()
      const taken = await this.#take()
      this.#wanted = taken ? Math.max(this.#wanted, 1) : 0
      if (taken) void this.#run(taken)
      // The gateway and its database may share this machine with whom they hand jobs over to.
      if (this.#are_others_here()) await sleep(Math.min(REST_MS_MAX, REST * (performance.now() - began)))
    } finally {
      this.#takes -= 1
    }
    this.#fill()
  }

  /** Null where there is none, or nobody says. What was leased to a call that was never answered is offered again when its lease ends. */
  async #take(): Promise<TakenJob | null> {
    const { calls, config } = this.#options
    const take_id = randomUUID()
    const until = performance.now() + TAKE_MS_MAX
    for (let tries = 1; performance.now() < until && !this.#is_released; tries += 1) {
      const taking: JobTaking = { node_id: config.node_id, take_id, sent_unix_ms: Date.now() }
      const answer = await calls
        .post<{ job: TakenJob | null }>('/internal/jobs/take', taking, CALL_MS_MAX)
        .catch((error: unknown) => (error instanceof CallRefused && error.status < 500 ? { job: null } : null))
      if (answer) return answer.job
      await sleep(backoffMs(tries))
    }
    return null
  }

  async #run(taken: TakenJob): Promise<void> {
    const job: RunningJob = { taken, generation: null }
    this.#running.add(job)
    try {
      await this.#carryOut(job)
    } catch (error) {
      this.#options.log.error({ err: error, job: taken.job_id }, 'a job failed')
    } finally {
      this.#running.delete(job)
      this.#fill()
    }
  }

  async #carryOut(job: RunningJob): Promise<void> {
    const { taken } = job
    const asked = { ticket_text: taken.ticket, bytes: async () => Buffer.from(taken.body) }
    const read = Promise.withResolvers<void>()
    try {
      await accept(this.#options, asked, (accepted) => this.#start(job, accepted).then(read.resolve, read.reject))
    } catch (error) {
      if (!(error instanceof Refusal)) throw error
      const { code, message, param } = error
      const end =
        code === 'engine_failed'
          ? ({ kind: 'returned' } as const)
          : ({ kind: 'refused', refused: { code, message, param } } as const)
      await this.#report(taken, { end })
      return
    }
    await read.promise
  }

  async #start(job: RunningJob, { generation, ticket, request }: Accepted): Promise<void> {
    const { streams, config } = this.#options
    job.generation = generation
    const reader = new JobReader({
      stored: job.taken.stored,
      is_streamed: request.stream,
      usage: () => generation.usage,
      report: (told) => this.#report(job.taken, told),
      pace_ms: config.job_pace_ms,
    })
    const deadline = endInTime(streams, generation, ticket)
    streams.start(generation, reader)
    await reader.run().finally(() => clearTimeout(deadline))
    streams.stop(generation, 'revoked') // where it was lost, or diverged, and still runs
  }

  /** Until it is answered: what is told has nobody else to tell it. */
  async #report({ job_id, ticket }: TakenJob, told: Pick<JobReport, 'chunk' | 'end'>): Promise<JobAnswer['decision']> {
    const { calls, config, log } = this.#options
    for (let tries = 1; ; tries += 1) {
      const report: JobReport = { node_id: config.node_id, job_id, ticket, ...told }
      try {
        return (await calls.post<JobAnswer>('/internal/jobs/report', report, CALL_MS_MAX)).decision
      } catch (error) {
        if (!(error instanceof CallRefused) || ![400, 413].includes(error.status)) await sleep(backoffMs(tries))
        else {
          log.error({ err: error, job: job_id }, 'the gateway cannot take what a job said')
          return 'lost'
        }
      }
    }
  }
}

// The jitter is full, so that many nodes do not return to a gateway in step.
function backoffMs(tries: number): number {
  return Math.min(BACKOFF_MS_MAX, BACKOFF_MS_MIN * 2 ** Math.min(tries, 10)) * (0.5 + Math.random() / 2)
}
