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
import { ask, askAll, type Failed } from '../../db/ask.ts'
import type { Answer, Item } from '../../db/functions.ts'
import { refusalOf } from '../../db/refusal.ts'
import { endpoint } from '../../endpoint.ts'
import { type Call, type Env, settingsOf } from '../../env.ts'
import { ApiError } from '../../error.ts'
import { nodeId } from '../../field/node.ts'
import { nodeErrorCode, TICKET_LENGTH_MAX } from '../../field/report.ts'
import { giveJobBack, handOver, type Speaker } from '../../generate/hand-over.ts'
import { refusal } from '../../generate/relay.ts'
import type { SignedReport } from '../../guard.ts'
import { type Part, sealedPart } from '../../sealed-part.ts'
import { ticketIssuerOf } from '../../ticket-issuer.ts'
import { SELDOM_MS, sendSoon } from '../../webhook/kick.ts'
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
    const taken = await askAll(c.env, 'take_job', asked)
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
      throw new ApiError('internal_error')
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
    const decision = await decisionOn(c, signed, parsedReport(signed, report))
    return signedAnswer(c.env, signed, JSON.stringify({ decision } satisfies JobAnswer))
  },
)

export const reportJobs = endpoint(
  { says: 'Takes what became of several jobs.', body: reports, answer: null },
  async (c, signed: SignedReport) => {
    const { node_id, reports: all } = parsedReport(signed, reports)
    const decisions = await Promise.all(all.map((one) => decisionOn(c, signed, { node_id, ...one })))
    return signedAnswer(c.env, signed, JSON.stringify({ decisions } satisfies JobAnswers))
  },
)

async function decisionOn(
  c: Call,
  { key }: SignedReport,
  { node_id, job_id, ticket: ticket_text, chunk, end }: JobReport,
): Promise<JobAnswer['decision']> {
  const ticket = await (await ticketIssuerOf(c.env)).open(ticket_text)
  if (ticket?.node_id !== node_id) throw new ApiError('invalid_api_key', { message: 'The ticket is another’s.' })
  const { account_id, request_id } = ticket
  const of = { account_id, id: job_id }
  const attempt = { node_id, key, job_id, request_id }
  const piece = chunk && (await sealedChunk(c.env, chunk, of))
  if (!end) return piece ? (await ask(c.env, 'keep_job_chunk', { ...attempt, ...piece })).decision : 'kept'
  const decision = await endJob(c.env, attempt, { end, piece, of })
  sendSoon(c, isHeardOf(end) ? undefined : SELDOM_MS)
  return decision
}

type Attempt = Pick<Item<'end_job'>, 'node_id' | 'key' | 'job_id' | 'request_id'>
type Of = Omit<Part, 'name'>

async function sealedChunk(env: Env, { chunk_count: number, text, ...after }: JobChunk, of: Of) {
  return { number, ...after, text: await sealedPart(env, text, { ...of, name: `chunk ${number}` }) }
}

/** Of the ends of responses there are events; of the lines of batches there are none. */
function isHeardOf(end: JobEnd): boolean {
  return end.kind !== 'answered' || end.answer.includes('"object":"response"')
}

interface Ended {
  end: JobEnd
  piece: Item<'end_job'>['chunk'] | undefined
  of: Of
}

async function endJob(env: Env, attempt: Attempt, { end, piece, of }: Ended): Promise<JobAnswer['decision']> {
  const { decision } = await (end.kind === 'answered'
    ? ask(env, 'end_job', { ...attempt, ...(piece && { chunk: piece }), ...(await answered(env, end, of)) })
    : returnJob(env, attempt, end))
  return decision === 'lost' ? 'lost' : 'kept'
}

async function answered(
  env: Env,
  { answer: text, usage, delivered_tokens }: Extract<JobEnd, { kind: 'answered' }>,
  of: Of,
) {
  const answer = JSON.parse(text) as { object?: string; status?: string }
  const is_cut = answer.object === 'response' && answer.status === 'incomplete'
  return {
    state: is_cut ? ('incomplete' as const) : ('completed' as const),
    status_code: 200,
    usage,
    delivered_tokens,
    result: await sealedPart(env, answer, { ...of, name: 'response' }),
    account_bytes_max: settingsOf(env).stored_bytes_max,
  }
}

/** Nothing was answered: it waits for another attempt, or fails for what its caller can mend, or for what nobody can. */
function returnJob(env: Env, attempt: Attempt, end: Exclude<JobEnd, { kind: 'answered' }>) {
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
