// The jobs that run here. While the node has room it takes what waits at its gateway, a few in a call, and calls one after the other with
// a rest between them where somebody else is here; each runs as what is asked by HTTP does, and its reader is the gateway.

import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import type { TakenJob } from '../../contract/internal/job.ts'
import type { Generation } from '../answer/generation.ts'
import type { GatewayCalls } from '../meter/gateway-calls.ts'
import { Refusal } from '../refusal.ts'
import { type AcceptanceOptions, type Accepted, accept, endInTime } from './acceptance.ts'
import { JobCalls } from './job-calls.ts'
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

const JOBS_A_TAKE = 4
const TAKES_AT_ONCE = 2
const OTHERS_MS = 2000 // whoever was here may ask again
const REST = 3 // after a take, beside others: so many times what it took
const REST_MS_MAX = 1000
const LOOK_MS = 50 // at whether what runs has ended

export class Jobs {
  readonly #options: JobsOptions
  readonly #calls: JobCalls
  readonly #running = new Set<RunningJob>()
  #takes = 0
  #taking = 0 // jobs that these may bring
  #wanted = 0 // jobs that may wait at the gateway
  #others_seen_ms = Number.NEGATIVE_INFINITY
  #is_released = false

  constructor(options: JobsOptions) {
    this.#options = options
    const { config, calls, log } = options
    const on_refused = (error: unknown, job: string) =>
      log.error({ err: error, job }, 'the gateway cannot take what a job said')
    this.#calls = new JobCalls({ node_id: config.node_id, calls, on_refused })
  }

  /** How many more there is room for: none while anything waits for its turn here. */
  get slots(): number {
    const { state, runner, config } = this.#options
    if (this.#is_released || state.draining || state.engine_failed || runner.load.waiting > 0) return 0
    return Math.max(0, config.jobs_max - this.#running.size - this.#taking)
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
    while ((this.#running.size > 0 || this.#takes > 0) && performance.now() < until) await sleep(LOOK_MS)
  }

  #fill(): void {
    while (this.#wanted > 0 && this.slots > 0 && this.#takes < this.#takes_max) {
      const count = Math.min(JOBS_A_TAKE, this.#wanted, this.slots)
      this.#wanted -= count
      void this.#take(count)
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

  /** Behind those that were there, there may be more than had been offered. */
  async #take(count: number): Promise<void> {
    this.#takes += 1
    this.#taking += count
    try {
      const began = performance.now()
      const taken = await this.#calls.take(count, () => !this.#is_released)
      this.#taking -= count
      this.#wanted = taken.length > 0 ? Math.max(this.#wanted, JOBS_A_TAKE) : 0
      for (const one of taken) void this.#run(one)
      // The gateway and its database may share this machine with whom they hand jobs over to.
      if (this.#are_others_here()) await sleep(Math.min(REST_MS_MAX, REST * (performance.now() - began)))
    } finally {
      this.#takes -= 1
    }
    this.#fill()
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
      await this.#calls.tell({ job_id: taken.job_id, ticket: taken.ticket, end })
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
      report: (told) => this.#calls.tell({ job_id: job.taken.job_id, ticket: job.taken.ticket, ...told }),
      pace_ms: config.job_pace_ms,
    })
    const deadline = endInTime(streams, generation, ticket)
    streams.start(generation, reader)
    await reader.run().finally(() => clearTimeout(deadline))
    streams.stop(generation, 'revoked') // where it was lost, or diverged, and still runs
  }
}
