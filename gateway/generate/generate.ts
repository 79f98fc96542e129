// THE path of a request. Everything a generation goes through, in order; all public shapes take it.

import type * as z from 'zod'
import { choicesOf, type GenerateRequest } from '../../contract/internal/generation.ts'
import type { ErrorBody } from '../../contract/public/error.ts'
import type { MessageError } from '../../contract/public/messages.ts'
import type { Caller } from '../auth/authenticate.ts'
import { admit, type Verdict } from '../billing/ledger.ts'
import { type Candidate, type CatalogModel, candidatesFor, type Named } from '../catalog/catalog.ts'
import { catalogOf } from '../catalog/in-force.ts'
import { type Asking, type Call, settingsOf } from '../env.ts'
import { ApiError } from '../error.ts'
import { firstLacked, unusable } from '../field/last-event-id.ts'
import { bodyOf, readBody } from '../field/read-body.ts'
import { unusedHeader } from '../field/unused.ts'
import { limitHeaders } from '../limit-headers.ts'
import { answerTo, type Idempotency, idempotencyOf } from '../limits/idempotency.ts'
import { type Claim, keepAnswer, keepStream } from '../limits/kept-result.ts'
import { answerAgain, type RepeatableCall, repeatableCall } from '../limits/repeatable-call.ts'
import { type CostCeiling, costCeiling } from './cost-ceiling.ts'
import { type Generation, relay } from './relay.ts'
import { eventsFrom, resume } from './resume.ts'

export interface GenerationBody {
  model: string
  deadline_ms?: number | null | undefined
  metadata?: Record<string, string> | null | undefined
}

/** What a public form adds to the path: the body it takes, and how that becomes a prompt. */
export interface GenerationForm<B extends GenerationBody> {
  schema: z.ZodType<B>
  format(body: B, context: { model: CatalogModel; request_id: string }): GenerateRequest | Promise<GenerateRequest>
  /** Names what a body that follows the schema gives and nobody uses. */
  unused(given: unknown): string[]
  /** What becomes of an answer beside being passed on. */
  kept?(answer: Response, of: { account_id: string; request: GenerateRequest }): Response
}

// A reservation outlives the longest generation by this much, so that only a report that comes very late finds it expired.
export const SETTLE_MS_MAX = 60_000

export async function generate<B extends GenerationBody>(
  c: Call,
  caller: Caller,
  form: GenerationForm<B>,
): Promise<Response> {
  return generateFor(c, caller, form, await readBody(c, form.schema))
}

/** The same for fields that were read. */
export async function generateFor<B extends GenerationBody>(
  c: Call,
  caller: Caller,
  form: GenerationForm<B>,
  fields: B,
): Promise<Response> {
  const candidates = candidatesFor(await catalogOf(c), fields.model)
  return firstServed(c, candidates, (candidate) => generateBy(c, caller, { form, fields, candidate }))
}

/** By the first of the models that a node serves. What none of them serves is refused as it was for the one that was asked for. */
async function firstServed(
  c: Call,
  [first, ...others]: [Candidate, ...Candidate[]],
  run: (candidate: Candidate) => Promise<Response>,
): Promise<Response> {
  try {
    return await run(first)
  } catch (refused) {
    if (!isUnserved(refused)) throw refused
    for (const other of others) {
      c.set('request_id', crypto.randomUUID()) // the one before may be that of a reservation, which was given back
      const answer = await run(other).catch(nullWhereRefused)
      if (answer) return answer
    }
    c.set('headers', {}) // they are of a model that did not answer
    throw refused
  }
}

function isUnserved(refused: unknown): boolean {
  return refused instanceof ApiError && refused.code === 'model_unavailable'
}

/** Nobody asked for a model in the place of another: why that one does not take the request is not told. */
function nullWhereRefused(refused: unknown): null {
  if (isUnserved(refused) || (refused instanceof ApiError && refused.status < 499)) return null
  throw refused
}

interface Attempt<B extends GenerationBody> {
  form: GenerationForm<B>
  fields: B
  candidate: Candidate
}

async function generateBy<B extends GenerationBody>(
  c: Call,
  caller: Caller,
  { form, fields, candidate }: Attempt<B>,
): Promise<Response> {
  const asked = await formatted(c, form, fields, candidate)
  const told = { ...unusedHeader(form.unused((await bodyOf(c)).json())), ...servedHeader(candidate) }
  c.set('headers', told)
  const repeatable = await repeatableCall(c)
  const { request } = asked
  const first = firstLackedOf(c, { is_resumable: repeatable !== null && request.stream })
  const idempotency = repeatable && (await idempotencyOf(repeatable))
  const item = itemOf(c, caller, asked)
  const repeats = idempotency && { idempotency, results_by_id: true as const, ...resuming(request, first) }
  const admission = await admit(c.env, { ...item, ...repeats })
  if (admission.decision !== 'admitted') {
    const again = { repeatable: repeatable!, idempotency: idempotency!, verdict: admission, first }
    return answerRepeated(c, again, async (answer, account_id) => {
      const { request } = await formatted(c, form, fields, candidate) // under the first one's id, as its parts were named
      return form.kept?.(answer, { account_id, request }) ?? answer
    })
  }
  c.set('headers', { ...told, ...limitHeaders(admission.limits ?? {}) })
  const { ledger_id, account_id } = admission
  const { model } = asked.named
  const generation = { ...asked, model, request: { ...request, ledger_id }, admission, client: c.req.raw.signal }
  const run: Run = async (changes) => {
    const answer = await relay(c, { ...generation, ...changes })
    return form.kept?.(answer, { account_id, request }) ?? answer
  }
  if (!repeatable || !idempotency) return run({})
  return runAndKeep(run, request, repeatable, { account_id, request_id: request.request_id, idempotency })
}

/** The number of the first event that the caller lacks; null where they do not say. */
function firstLackedOf(c: Call, { is_resumable }: { is_resumable: boolean }): number | null {
  const first = firstLacked(c)
  if (first === null || first === 0 || is_resumable) return first
  throw unusable('A stream is gone on with by the Idempotency-Key that it was asked with, and the same body.')
}

/** What the ledger is told of a stream with an Idempotency-Key: whoever has events of it asks for no new one. */
function resuming({ stream }: GenerateRequest, first: number | null) {
  return stream ? { resumes: true as const, ...(first && { is_begun: true as const }) } : {}
}

interface Repeated {
  repeatable: RepeatableCall
  idempotency: Idempotency
  verdict: Verdict
  first: number | null
}

/** The answer to a request that was asked before: the first result, or the stream that still runs. */
async function answerRepeated(
  c: Call,
  { repeatable, idempotency, verdict, first }: Repeated,
  keptBy: (answer: Response, account_id: string) => Promise<Response>,
): Promise<Response> {
  if (verdict.decision === 'idempotency_unknown') throw new ApiError('stream_not_found', { param: 'Idempotency-Key' })
  if (verdict.decision !== 'idempotency_resumable')
    return eventsFrom(answerAgain(c, await answerTo(repeatable, verdict, idempotency)), first ?? 0)
  const { account_id, request_id } = verdict
  const resumed = await resume(c, verdict, { takes_over: first !== null })
  if (!resumed) throw new ApiError('idempotency_running', { param: 'Idempotency-Key' })
  const answer = await keptBy(resumed, account_id)
  return eventsFrom(keepStream(repeatable, { account_id, request_id, idempotency }, answer), first ?? 0)
}

type Run = (changes: Partial<Generation>) => Promise<Response>

/** What the ledger is asked about it. */
export function itemOf(c: Call, caller: Caller, { request, named, metadata, ceiling, duration_ms_max }: Asked) {
  return {
    request_id: request.request_id,
    ...caller,
    ...named,
    ...ceiling,
    choices: choicesOf(request),
    ttl_ms: duration_ms_max + SETTLE_MS_MAX,
    ...(metadata && { metadata }),
    ...(request.verify && { verify: request.verify.language }),
    ...(request.service_tier === 'flex' && { service_tier: request.service_tier }),
    registered_nodes: true as const,
    limits: settingsOf(c.env).limits,
  }
}

export interface Asked {
  request: GenerateRequest
  named: Named
  metadata: Record<string, string> | null
  ceiling: CostCeiling
  context_tokens: number
  duration_ms_max: number
}

export async function formatted<B extends GenerationBody>(
  c: Asking,
  form: GenerationForm<B>,
  fields: B,
  candidate?: Candidate,
): Promise<Asked> {
  const { generation_ms_max } = settingsOf(c.env)
  const { model, named, shown_as } = candidate ?? candidatesFor(await catalogOf(c), fields.model)[0]
  const request = await form.format(fields, { model, request_id: c.get('request_id') })
  return {
    request: { ...request, model: shown_as },
    named,
    metadata: metadataOf(fields),
    ceiling: costCeiling(request, model.context_tokens),
    context_tokens: model.context_tokens,
    duration_ms_max: Math.min(fields.deadline_ms ?? generation_ms_max, generation_ms_max),
  }
}

/** Which model it is, where that has not the name that was asked for. */
function servedHeader({ named: { model, asked_model } }: Candidate): Record<string, string> {
  return asked_model === undefined ? {} : { 'x-served-model': model }
}

/** An empty one is none. */
function metadataOf({ metadata }: GenerationBody): Record<string, string> | null {
  return metadata && Object.keys(metadata).length > 0 ? metadata : null
}

async function runAndKeep(
  run: Run,
  { stream }: GenerateRequest,
  repeatable: RepeatableCall,
  claim: Claim,
): Promise<Response> {
  if (stream) {
    const { resume_ms_max } = settingsOf(repeatable.env)
    return keepStream(repeatable, claim, await run({ resume_ms_max }))
  }
  // Whoever may ask again for the same answer gets it then: the run goes on without them.
  const answer = await run({ client: new AbortController().signal })
  const whole = wholeAnswer(answer, await answer.text())
  return whole.ok ? keepAnswer(repeatable, claim, whole) : whole
}

const STATUS_OF_FAILURE: Record<string, number> = {
  request_revoked: 403,
  context_length_exceeded: 400,
  unsupported_parameter: 400,
}

function codeOf({ error }: ErrorBody | MessageError): string | null {
  return 'details' in error ? error.details.error_code : error.code
}

/** An answer without the empty lines that kept it alive, and with the status of the error that it became after them. */
function wholeAnswer({ status, headers }: Response, text: string): Response {
  const json = text.trimStart()
  const failed = /^\{("error":|"type":"error")/.test(json) ? codeOf(JSON.parse(json)) : null
  const told = failed === null || status !== 200 ? status : (STATUS_OF_FAILURE[failed] ?? 503)
  return new Response(json, { status: told, headers })
}
