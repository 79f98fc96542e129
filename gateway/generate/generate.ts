// THE path of a request. Everything a generation goes through, in order; both public shapes take it.

import type { GenerateRequest } from '../../contract/internal/generation.ts'
import { identify } from '../auth/authenticate.ts'
import { admit } from '../billing/ledger.ts'
import type { CatalogModel } from '../catalog.ts'
import { type Call, settingsOf } from '../env.ts'
import { ApiError } from '../error.ts'
import { parseBody, readBodyText, type Schema } from '../field/read-body.ts'
import { limitHeaders } from '../limit-headers.ts'
import { answerTo, idempotencyOf, keepResult, keepStream } from '../limits/idempotency.ts'
import { costCeiling } from './cost-ceiling.ts'
import { relay } from './relay.ts'

export interface GenerationBody {
  model: string
  deadline_ms?: number | null | undefined
}

/** What an endpoint adds to the path: the body it takes, and how that becomes a prompt. */
export interface GenerationEndpoint<B extends GenerationBody> {
  schema: Schema<B>
  format(body: B, context: { model: CatalogModel; request_id: string }): GenerateRequest
}

// A reservation outlives the longest generation by this much, so that only a report that comes very late finds it expired.
const SETTLE_MS_MAX = 60_000

export async function generate<B extends GenerationBody>(c: Call, endpoint: GenerationEndpoint<B>): Promise<Response> {
  const { catalog, generation_ms_max, limits } = settingsOf(c.env)
  const caller = await identify(c)
  const text = await readBodyText(c.req.raw)
  const body = parseBody(text, endpoint.schema)
  const model = catalog.get(body.model)
  if (!model) throw new ApiError('model_not_found', { param: 'model' })

  const request = endpoint.format(body, { model, request_id: c.get('request_id') })
  const duration_ms_max = Math.min(body.deadline_ms ?? generation_ms_max, generation_ms_max)
  const ceiling = costCeiling(request, model.context_tokens)
  const idempotency = await idempotencyOf(c, text)
  const admission = await admit(c.env, {
    request_id: request.request_id,
    ...caller,
    model: model.id,
    ...ceiling,
    ttl_ms: duration_ms_max + SETTLE_MS_MAX,
    limits,
    ...(idempotency && { idempotency }),
  })
  if (admission.decision !== 'admitted') return (await answerTo(c, admission))!
  c.set('headers', limitHeaders(admission.limits ?? {}))
  const generation = { request, admission, ceiling, duration_ms_max }
  if (!idempotency) return relay(c, { ...generation, client: c.req.raw.signal })

  const claim = { account_id: admission.account_id, request_id: request.request_id, idempotency }
  if (request.stream) return keepStream(c, claim, await relay(c, { ...generation, client: c.req.raw.signal }))
  // Whoever may ask again for the same answer gets it then: the run goes on without them.
  const answer = await relay(c, { ...generation, client: new AbortController().signal })
  const bytes = new Uint8Array(await answer.arrayBuffer())
  if (answer.ok) await keepResult(c, claim, { status: answer.status, content_type: 'application/json', bytes })
  return new Response(bytes, answer)
}
