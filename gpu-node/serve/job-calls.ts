// What the node says of jobs to its gateway: what it would take, and what became of what it took. What is told of several at the same
// time goes in one call, for a call costs the gateway, its database and this node as much as what is in it.

import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  JOB_REPORTS_MAX,
  type JobAnswer,
  type JobAnswers,
  type JobReport,
  type JobReports,
  type JobsGiven,
  type JobTaking,
  type TakenJob,
} from '../../contract/internal/job.ts'
import { CallRefused, type GatewayCalls } from '../meter/gateway-calls.ts'

export interface JobCallsOptions {
  node_id: string
  calls: Pick<GatewayCalls, 'post'>
  on_refused: (error: unknown, job_id: string) => void // the gateway cannot take what is told of it
}

type Told = Omit<JobReport, 'node_id'>

interface Waiting {
  told: Told
  length: number // of its text
  settle: (decision: JobAnswer['decision']) => void
}

const CALL_MS_MAX = 10_000
const TAKE_MS_MAX = 25_000 // less than a lease
const LENGTH_MAX = 1 << 20 // of what goes in one call; what is longer goes by itself
const BACKOFF_MS_MIN = 50
const BACKOFF_MS_MAX = 5000

export class JobCalls {
  readonly #options: JobCallsOptions
  #waiting: Waiting[] = []

  constructor(options: JobCallsOptions) {
    this.#options = options
  }

  /**
   * So many jobs, or as many as there are; none where nobody says, or `goesOn` does not. What was leased to a call that was never
   * answered is offered again when its lease ends.
   */
  async take(count: number, goesOn: () => boolean): Promise<TakenJob[]> {
    const { calls, node_id } = this.#options
    const [take_id, ...further_take_ids] = Array.from({ length: count }, () => randomUUID())
    const until = performance.now() + TAKE_MS_MAX
    for (let tries = 1; performance.now() < until && goesOn(); tries += 1) {
      const taking: JobTaking = { node_id, take_id: take_id!, further_take_ids, sent_unix_ms: Date.now() }
      try {
        const { job, further_jobs = [] } = await calls.post<JobsGiven>('/internal/jobs/take', taking, CALL_MS_MAX)
        return job ? [job, ...further_jobs] : []
      } catch (error) {
        if (error instanceof CallRefused && error.status < 500) return []
      }
      await sleep(backoffMs(tries))
    }
    return []
  }

  /** Until it is answered: what is told has nobody else to tell it. */
  tell(told: Told): Promise<JobAnswer['decision']> {
    const { promise, resolve } = Promise.withResolvers<JobAnswer['decision']>()
    if (this.#waiting.length === 0) setImmediate(() => this.#tellAll())
    this.#waiting.push({ told, length: (told.chunk?.text.length ?? 0) + endLength(told), settle: resolve })
    return promise
  }

  #tellAll(): void {
    const waiting = this.#waiting
    this.#waiting = []
    for (const group of groupsOf(waiting)) void this.#tellGroup(group)
  }

  /** Where it is not answered as a whole, one of them may be why; so each goes alone. */
  async #tellGroup(group: Waiting[]): Promise<void> {
    const decisions = group.length > 1 ? await this.#tellTogether(group.map(({ told }) => told)) : null
    for (const [place, { told, settle }] of group.entries())
      if (decisions) settle(decisions[place]!)
      else void this.#tellAlone(told).then(settle)
  }

  /** Null also of a gateway of before, which does not know this call. */
  async #tellTogether(reports: Told[]): Promise<JobAnswers['decisions'] | null> {
    const { calls, node_id } = this.#options
    try {
      const all: JobReports = { node_id, reports }
      return (await calls.post<JobAnswers>('/internal/jobs/reports', all, CALL_MS_MAX)).decisions
    } catch {
      return null
    }
  }

  async #tellAlone(told: Told): Promise<JobAnswer['decision']> {
    const { calls, node_id, on_refused } = this.#options
    for (let tries = 1; ; tries += 1) {
      const report: JobReport = { node_id, ...told }
      try {
        return (await calls.post<JobAnswer>('/internal/jobs/report', report, CALL_MS_MAX)).decision
      } catch (error) {
        if (!(error instanceof CallRefused) || ![400, 413].includes(error.status)) await sleep(backoffMs(tries))
        else {
          on_refused(error, told.job_id)
          return 'lost'
        }
      }
    }
  }
}

function endLength({ end }: Told): number {
  return end?.kind === 'answered' ? end.answer.length : 0
}

/** In order, each as long as one call may be. */
function groupsOf(waiting: Waiting[]): Waiting[][] {
  const groups: Waiting[][] = []
  let length = 0
  for (const one of waiting) {
    const last = groups.at(-1)
    length += one.length
    if (last && last.length < JOB_REPORTS_MAX && length <= LENGTH_MAX) last.push(one)
    else {
      groups.push([one])
      length = one.length
    }
  }
  return groups
}

// The jitter is full, so that many nodes do not return to a gateway in step.
function backoffMs(tries: number): number {
  return Math.min(BACKOFF_MS_MAX, BACKOFF_MS_MIN * 2 ** Math.min(tries, 10)) * (0.5 + Math.random() / 2)
}
