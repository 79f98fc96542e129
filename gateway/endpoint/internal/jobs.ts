// POST /internal/jobs/take, /internal/jobs/report and /internal/jobs/reports: a node that has room takes jobs, and tells what became of
// them. What it is told is kept it forgets, so it is kept on the disk by then, and the answer is signed.

import * as z from 'zod'
import {
  JOB_REPORTS_MAX,
  JOBS_A_TAKE_MAX,
  type JobAnswer,
  type JobAnswers,
  type JobChunk,
  type JobEnd,
  type JobReport,
  type JobReports,
  type JobsGiven,
  type JobTaking,
  type TakenJob,
} from '../../../contract/internal/job.ts'
import { count } from '../../../contract/public/scalar.ts'
import { ask, askAll, type Failed, failureOf } from '../../db/ask.ts'
import type { Answer, Item } from '../../db/functions.ts'
import { refusalOf } from '../../db/refusal.ts'
import { endpoint } from '../../endpoint.ts'
import { type Call, type Env, settingsOf } from '../../env.ts'
import { ApiError } from '../../error.ts'
import { nodeId } from '../../field/node.ts'
import { nodeErrorCode, TICKET_LENGTH_MAX } from '../../field/report.ts'
import { giveJobBack, handOver, type Speaker } from '../../generate/hand-over.ts'
import { refusal } from '../../generate/relay.ts'
import { giveWay } from '../../give-way.ts'
import type { SignedReport } from '../../guard.ts'
import { type Part, sealedPart } from '../../sealed-part.ts'
import { ticketIssuerOf } from '../../ticket-issuer.ts'
import { sendSoon } from '../../webhook/kick.ts'
import { parsedReport, signedAnswer } from './signed-report.ts'

const taking: z.ZodType<JobTaking> = z.object({
  node_id: nodeId,
  take_id: z.guid(),
  further_take_ids: z
    .array(z.guid())
    .max(JOBS_A_TAKE_MAX - 1)
    .optional(),
  sent_unix_ms: count,
})

export const takeJobs = endpoint(
  { says: 'Gives a node jobs.', body: taking, answer: null },
  async (c, signed: SignedReport) => {
    const { take_id, further_take_ids = [], ...said } = parsedReport(signed, taking)
    const { key } = signed
    const speaker = { node_id: said.node_id, key }
    const asked = [take_id, ...further_take_ids].map((take_id) => ({ ...said, take_id, key }))
    await giveWay()
    const taken = await askAll(c.env, 'take_job', asked)
    await giveWay()
    const [job = null, ...further_jobs] = await given(taken.map((one) => jobIn(c.env, speaker, one)))
    return signedAnswer(c.env, signed, JSON.stringify({ job, further_jobs } satisfies JobsGiven))
  },
)

/** Those that can be given. One that failed is leased, and offered again: it keeps no other from its node. */
async function given(jobs: Promise<TakenJob | null>[]): Promise<TakenJob[]> {
  const all = await Promise.allSettled(jobs)
  const found = all.flatMap((one) => (one.status === 'fulfilled' && one.value ? [one.value] : []))
  const failed = all.find((one) => one.status === 'rejected')
  if (failed && found.length === 0) throw failed.reason
  return found
}

async function jobIn(env: Env, speaker: Speaker, taken: Answer<'take_job'> | Failed): Promise<TakenJob | null> {
  switch (taken.decision) {
    case 'taken':
      return handOver(env, speaker, taken)
    case 'none':
      return null
    case 'failed':
      throw failureOf(taken)
    default:
      throw refusalOf(taken)
  }
}

const sha256 = z.string().regex(/^[0-9a-f]{64}$/)
const usage = z.object({ prompt_tokens: count, cached_tokens: count, completion_tokens: count })

const ofOneJob = z.object({
  job_id: z.guid(),
  ticket: z.string().max(TICKET_LENGTH_MAX),
  chunk: z
    .object({
      chunk_count: count,
      event_count: count,
      length: count,
      sha256,
      text: z.string(),
      tokens: count.optional(),
    })
    .optional(),
  end: z
    .discriminatedUnion('kind', [
      z.object({ kind: z.literal('answered'), answer: z.string(), usage, delivered_tokens: count }),
      z.object({
        kind: z.literal('refused'),
        refused: z.object({ code: nodeErrorCode, message: z.string(), param: z.string().nullable() }),
      }),
      z.object({ kind: z.enum(['stopped', 'returned', 'diverged']) }),
    ])
    .optional(),
})

const report: z.ZodType<JobReport> = ofOneJob.extend({ node_id: nodeId })
const reports: z.ZodType<JobReports> = z.object({
  node_id: nodeId,
  reports: z.array(ofOneJob).min(1).max(JOB_REPORTS_MAX),
})

export const reportJob = endpoint(
  { says: 'Takes what became of a job.', body: report, answer: null },
  async (c, signed: SignedReport) => {
    const [decision] = await decisionsOn(c, [await attemptOf(c.env, signed, parsedReport(signed, report))])
    return signedAnswer(c.env, signed, JSON.stringify({ decision: decision! } satisfies JobAnswer))
  },
)

export const reportJobs = endpoint(
  { says: 'Takes what became of several jobs.', body: reports, answer: null },
  async (c, signed: SignedReport) => {
    const { node_id, reports: all } = parsedReport(signed, reports)
    await giveWay()
    const told = await Promise.all(all.map((one) => attemptOf(c.env, signed, { node_id, ...one })))
    const decisions = await decisionsOn(c, told)
    return signedAnswer(c.env, signed, JSON.stringify({ decisions } satisfies JobAnswers))
  },
)

type Attempt = Pick<Item<'end_job'>, 'node_id' | 'key' | 'job_id' | 'request_id'>
type Of = Omit<Part, 'name'>
type Answered = Extract<JobEnd, { kind: 'answered' }>
type Unanswered = Exclude<JobEnd, Answered>

/** What is told of an attempt, as it is stored. */
interface Told {
  attempt: Attempt
  piece: Item<'end_job'>['chunk'] | undefined
  answered: Item<'end_job'> | null
  unanswered: Unanswered | null // that it ended without
  has_event: boolean // of what a webhook tells
}

async function attemptOf(
  env: Env,
  { key }: SignedReport,
  { node_id, job_id, ticket: ticket_text, chunk, end }: JobReport,
): Promise<Told> {
  const ticket = await (await ticketIssuerOf(env)).open(ticket_text)
  if (ticket?.node_id !== node_id) throw new ApiError('invalid_api_key', { message: 'The ticket is another’s.' })
  const { account_id, request_id } = ticket
  const of = { account_id, id: job_id }
  const attempt = { node_id, key, job_id, request_id }
  const piece = chunk && (await sealedChunk(env, chunk, of))
  if (end?.kind !== 'answered') return { attempt, piece, answered: null, unanswered: end ?? null, has_event: !!end }
  const answer = JSON.parse(end.answer) as { object?: string; status?: string }
  const is_response = answer.object === 'response'
  const answered = {
    ...attempt,
    ...(piece && { chunk: piece }),
    state: is_response && answer.status === 'incomplete' ? ('incomplete' as const) : ('completed' as const),
    status_code: 200,
    usage: end.usage,
    delivered_tokens: end.delivered_tokens,
    result: await sealedPart(env, answer, { ...of, name: 'response' }),
    account_bytes_max: settingsOf(env).stored_bytes_max,
  }
  return { attempt, piece, answered, unanswered: null, has_event: is_response }
}

async function sealedChunk(env: Env, { chunk_count: number, text, ...after }: JobChunk, of: Of) {
  return { number, ...after, text: await sealedPart(env, text, { ...of, name: `chunk ${number}` }) }
}

async function decisionsOn(c: Call, all: Told[]): Promise<JobAnswer['decision'][]> {
  const of_answers = await endAll(
    c.env,
    all.flatMap(({ answered }) => answered ?? []),
  )
  const decisions = await Promise.all(all.map((told) => of_answers.get(told.answered) ?? noteRest(c.env, told)))
  if (all.some(({ has_event }) => has_event)) sendSoon(c)
  return decisions
}

/** In one call of the database. */
async function endAll(env: Env, items: Item<'end_job'>[]): Promise<Map<Told['answered'], JobAnswer['decision']>> {
  const answers = items.length > 0 ? await askAll(env, 'end_job', items) : []
  const failed = answers.find((answer): answer is Failed => answer.decision === 'failed')
  if (failed) throw failureOf(failed)
  return new Map(items.map((item, place) => [item, answers[place]!.decision === 'lost' ? 'lost' : 'kept']))
}

async function noteRest(env: Env, { attempt, piece, unanswered }: Told): Promise<JobAnswer['decision']> {
  if (!unanswered) return piece ? (await ask(env, 'keep_job_chunk', { ...attempt, ...piece })).decision : 'kept'
  return (await returnJob(env, attempt, unanswered)).decision === 'lost' ? 'lost' : 'kept'
}

/** Nothing was answered: it waits for another attempt, or fails for what its caller can mend, or for what nobody can. */
function returnJob(env: Env, attempt: Attempt, end: Unanswered) {
  switch (end.kind) {
    case 'refused':
      return giveJobBack(env, attempt, refusal({ refused: end.refused, retry_after_s: null }))
    case 'stopped':
      return giveJobBack(env, attempt, new ApiError('request_revoked'))
    case 'diverged':
      return giveJobBack(env, attempt, new ApiError('internal_error', { message: DIVERGED }))
    case 'returned':
      return ask(env, 'return_job', { ...attempt, delay_ms: 0, counts: true, error: null, status_code: null })
  }
}

const DIVERGED = 'It was begun anew, and would have gone on otherwise than what had been streamed of it.'
