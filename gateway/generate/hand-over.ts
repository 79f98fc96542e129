// From a job that a node takes to what it runs: the job is admitted as any request is, now that it begins, and a ticket is signed.

import type { GenerateRequest } from '../../contract/internal/generation.ts'
import type { TakenJob } from '../../contract/internal/job.ts'
import { bodyHash } from '../../contract/internal/ticket.ts'
import { admit } from '../billing/ledger.ts'
import type { Answer, Item } from '../db/functions.ts'
import { type Env, settingsOf } from '../env.ts'
import { ApiError, type ErrorCode, errorBodyOf } from '../error.ts'
import { returnJob, type SealedRequest } from '../jobs/job.ts'
import { openedPart } from '../sealed-part.ts'
import { SETTLE_MS_MAX } from './generate.ts'
import { signedTicket } from './relay.ts'

export type Taken = Extract<Answer<'take_job'>, { decision: 'taken' }>
export type Speaker = Pick<Item<'take_job'>, 'node_id' | 'key'>

/** What the node is to run; null where the job could not begin, and waits or has failed. */
export async function handOver(env: Env, speaker: Speaker, taken: Taken): Promise<TakenJob | null> {
  const { account_id, job_id, request_id } = taken
  const sealed = await openedPart<SealedRequest>(env, taken.request, { account_id, id: job_id, name: 'request' })
  try {
    if (!sealed)
      throw new ApiError('internal_error', { message: 'It was sealed with a secret that was changed since.' })
    return await admitted(env, speaker, taken, sealed)
  } catch (error) {
    if (!(error instanceof ApiError)) throw error
    await giveJobBack(env, { ...speaker, job_id, request_id }, error, taken.kind)
    return null
  }
}

async function admitted(
  env: Env,
  { node_id }: Speaker,
  { request_id, account_id, job_id, key_hash, address, model, admission, ...stored }: Taken,
  { request, duration_ms_max }: SealedRequest,
): Promise<TakenJob> {
  const item = {
    request_id,
    key_hash,
    address,
    knows_suspension: true as const,
    model,
    ...admission,
    ttl_ms: duration_ms_max + SETTLE_MS_MAX,
    registered_nodes: true as const,
    limits: settingsOf(env).limits,
  }
  const held = await admit(env, item, 'job') // nobody who waits is admitted behind it
  if (held.decision !== 'admitted') throw new Error('a job has no Idempotency-Key')
  const { key_id, price_version, reserved_nanousd, ledger_id } = held
  const reservation = { request_id, attempt: 1, account_id, key_id, model, price_version, reserved_nanousd }
  const body = JSON.stringify({ ...request, request_id, ledger_id } satisfies GenerateRequest)
  const ticket = await signedTicket(env, {
    node_id,
    reservation,
    body_sha256: await bodyHash(body),
    ceiling: admission,
    duration_ms_max,
  })
  const { chunk_count, event_count, stored_length: length, stored_sha256: sha256 } = stored
  return { job_id, request_id, ticket, body, stored: { chunk_count, event_count, length, sha256 } }
}

/** What is refused for now, and not for good. */
const PASSING: ReadonlySet<ErrorCode> = new Set([
  'rate_limit_requests',
  'rate_limit_tokens',
  'rate_limit_in_flight',
  'model_unavailable',
  'overloaded',
  'node_has_no_room',
  'database_unavailable',
])
const AGAIN_MS = 2000
/** A line of a batch waits for money, too, as long as its batch does. */
const SHORT: ReadonlySet<ErrorCode> = new Set(['insufficient_quota', 'spend_cap_reached'])
const SHORT_MS = 30_000

/** Nothing is charged for an attempt that was refused: the job is offered again later, or fails with the refusal. */
export async function giveJobBack(
  env: Env,
  attempt: Pick<Item<'return_job'>, 'node_id' | 'key' | 'job_id' | 'request_id'>,
  refused: ApiError,
  kind?: Taken['kind'],
): Promise<Answer<'return_job'>> {
  const is_short = kind === 'batch' && SHORT.has(refused.code)
  const is_final = !is_short && !PASSING.has(refused.code)
  return returnJob(env, {
    ...attempt,
    delay_ms: is_short ? SHORT_MS : AGAIN_MS,
    counts: false,
    error: is_final ? errorBodyOf(refused).error : null,
    status_code: is_final ? refused.status : null,
  })
}
