// A job as the ledger keeps it: made of a request that is formatted and checked, and sealed. Whoever adds a kind of owner makes its jobs
// here, and is told of their end by the ledger (migrations/ledger/jobs.sql, job_ended).

import { choicesOf, type GenerateRequest } from '../../contract/internal/generation.ts'
import { ask, obtain } from '../db/ask.ts'
import type { Answer, Item } from '../db/functions.ts'
import { type Env, settingsOf } from '../env.ts'
import { openedPart, sealedPart } from '../sealed-part.ts'

/** A request, and what it may cost at most. */
export interface JobRequest {
  request: GenerateRequest
  /** Its model, and the name that it was asked for by where that is another. */
  named: Pick<Item<'admit'>, 'model' | 'asked_model' | 'alias'>
  metadata: Record<string, string> | null
  ceiling: { prompt_tokens_max: number; request_output_tokens_max: number }
  duration_ms_max: number
}

export interface NewJob {
  job_id: string
  account_id: string
  caller: Pick<Item<'create_job'>, 'key_hash' | 'address' | 'knows_suspension'>
  kind: Item<'create_job'>['kind']
  /** Which of its kind it is of, in the words of that. */
  owner?: string
  asked: JobRequest
  /** What a response was made from, and what it says before it has ended. */
  input?: object
  head?: object
  /** It is begun within so many seconds, or fails. */
  window_s: number
}

/** What a node is handed, with how long it may take. */
export type SealedRequest = Pick<JobRequest, 'request' | 'duration_ms_max'>

/** Makes the job, or throws why it is not taken on. Asked again by the same id it is the same one. */
export async function createJob(env: Env, job: NewJob): Promise<void> {
  await obtain(env, 'create_job', await jobItem(env, job), 'created')
}

/** What the ledger is asked to make it of; many may go in one call (`askAll`). */
export async function jobItem(env: Env, job: NewJob): Promise<Item<'create_job'>> {
  const { job_id, account_id, caller, kind, owner, asked, input, head, window_s } = job
  const { request, named, metadata, ceiling, duration_ms_max } = asked
  const { model, ...asked_as } = named
  const sealed = (value: unknown, name: string) => sealedPart(env, value, { account_id, id: job_id, name })
  return {
    ...caller,
    job_id,
    kind,
    ...(owner !== undefined && { owner }),
    model,
    admission: {
      ...ceiling,
      ...asked_as,
      choices: choicesOf(request),
      ...(metadata && { metadata }),
      ...(request.verify && { verify: request.verify.language }),
      ...(request.service_tier === 'flex' && { service_tier: request.service_tier }),
    },
    request: await sealed(
      { request: { ...request, priority: 'batch' }, duration_ms_max } satisfies SealedRequest,
      'request',
    ),
    input: input === undefined ? null : await sealed(input, 'input'),
    head: head === undefined ? null : await sealed(head, 'head'),
    window_s,
    account_bytes_max: settingsOf(env).stored_bytes_max,
  }
}

/** Nothing is charged for the attempt; the job waits for another, or fails with an error. */
export function returnJob(env: Env, item: Item<'return_job'>): Promise<Answer<'return_job'>> {
  return ask(env, 'return_job', item)
}

/** The whole answer of a job that has one (`jobs.result`): the JSON that a caller who waited would have got. */
export function openedResult<T>(
  env: Env,
  result: string,
  of: { account_id: string; job_id: string },
): Promise<T | null> {
  return openedPart<T>(env, result, { account_id: of.account_id, id: of.job_id, name: 'response' })
}
