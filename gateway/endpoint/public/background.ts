// Responses in the background: made as jobs, read while they run and after, cancelled. Their streams are made of what is stored, so that
// each reader gets the same bytes from any gateway, from any event on.

import { responseBody } from '../../../contract/internal/generation.ts'
import type { ResponseBody, ResponseInputItem } from '../../../contract/public/responses.ts'
import type { Caller } from '../../auth/authenticate.ts'
import { ask, obtain } from '../../db/ask.ts'
import type { Answer } from '../../db/functions.ts'
import { refusalOf } from '../../db/refusal.ts'
import type { Call, Env } from '../../env.ts'
import { responseId } from '../../field/id.ts'
import { bodyOf } from '../../field/read-body.ts'
import type { Asked } from '../../generate/generate.ts'
import { createJob } from '../../jobs/job.ts'
import { once } from '../../limits/idempotency.ts'
import { answerAgain, repeatableCall } from '../../limits/repeatable-call.ts'
import { openedPart } from '../../sealed-part.ts'

/** What a response in the background is made of. */
export interface InBackground {
  asked: Asked
  input: ResponseInputItem[]
  window_s: number
}

/** Queues it, and answers it as it is then, or its stream. */
export async function createInBackground(
  c: Call,
  caller: Caller,
  make: () => Promise<InBackground>,
  stream: (job_id: string) => Promise<Response>,
): Promise<Response> {
  const wants_stream = ((await bodyOf(c)).json() as { stream?: unknown }).stream === true
  const run = async () => c.json(await enqueue(c, caller, await make()))
  const repeatable = await repeatableCall(c)
  const asker = { ...caller, scope: 'generate' }
  const created = repeatable
    ? await once(repeatable, { request_id: c.get('request_id'), key_hash: caller.key_hash, asker }, (operation) => {
        if (operation) c.set('request_id', operation.id)
        return run()
      })
    : await run()
  const answer = created instanceof Response ? created : answerAgain(c, created)
  if (!wants_stream || !answer.ok) return answer
  const { id } = (await answer.json()) as ResponseBody
  return stream(responseId.parse(id))
}

async function enqueue(c: Call, caller: Caller, { asked, input, window_s }: InBackground): Promise<ResponseBody> {
  const job_id = asked.request.request_id
  const { account_id } = await obtain(
    c.env,
    'read_responses',
    { ...caller, request_ids: [], with_input: false },
    'allowed',
  )
  const head = responseBody(asked.request, { status: 'queued' })
  await createJob(c.env, { job_id, account_id, caller, kind: 'response', asked, input, head, window_s })
  return head
}

type Found = Extract<Answer<'read_job'>, { decision: 'allowed' }>
type Report = Found['job']

export interface BackgroundResponse {
  account_id: string
  job_id: string
  job: Report
  head: ResponseBody
  /** The whole answer, where there was no room for it among those that are stored. */
  result: ResponseBody | null
}

/** Null where no response of this id was made in the background. */
export async function findBackground(c: Call, caller: Caller, job_id: string): Promise<BackgroundResponse | null> {
  return foundBackground(c.env, job_id, await ask(c.env, 'read_job', { ...caller, job_id }))
}

/** What it is made from, where it has not ended. */
export async function backgroundInput(c: Call, caller: Caller, job_id: string): Promise<ResponseInputItem[] | null> {
  const found = await ask(c.env, 'read_job', { ...caller, job_id, with_input: true })
  if (found.decision !== 'allowed' || !found.input) return null
  return openedPart<ResponseInputItem[]>(c.env, found.input, {
    account_id: found.account_id,
    id: job_id,
    name: 'input',
  })
}

export async function cancelBackground(c: Call, caller: Caller, job_id: string): Promise<BackgroundResponse | null> {
  return foundBackground(c.env, job_id, await ask(c.env, 'cancel_job', { ...caller, job_id }))
}

async function foundBackground(
  env: Env,
  job_id: string,
  found: Answer<'read_job'>,
): Promise<BackgroundResponse | null> {
  if (found.decision === 'not_found') return null
  if (found.decision !== 'allowed') throw refusalOf(found)
  const { account_id, job } = found
  const of = { account_id, id: job_id }
  const head = await openedPart<ResponseBody>(env, found.head!, { ...of, name: 'head' })
  const result = found.result ? await openedPart<ResponseBody>(env, found.result, { ...of, name: 'response' }) : null
  return head && { account_id, job_id, job, head, result }
}

type Told = Pick<BackgroundResponse, 'head' | 'job' | 'result'>

/** As it is now; null where it is answered, and stored. */
export function unansweredBody({ head, job, result }: Told): ResponseBody | null {
  if (result) return result
  switch (job.state) {
    case 'queued':
      return head
    case 'running':
      return { ...head, status: 'in_progress' }
    case 'cancelled':
      return { ...head, status: 'cancelled' }
    case 'failed':
      return { ...head, status: 'failed', error: errorOf(job) }
    default:
      return null
  }
}

function errorOf({ error }: Report): ResponseBody['error'] {
  const { type, message } = error!
  if (type === 'invalid_request_error') return { code: 'invalid_prompt', message }
  return { code: type === 'server_error' ? 'server_error' : 'rate_limit_exceeded', message }
}
