// POST /v1/estimate: what a request would count, hold and cost, and whether it would be admitted now, without running it. Its body is
// that of the request itself.

import * as z from 'zod'
import { choicesOf, type GenerateRequest } from '../../../contract/internal/generation.ts'
import { type Estimate, estimate as shown } from '../../../contract/public/tokens.ts'
import type { Caller } from '../../auth/authenticate.ts'
import { ask } from '../../db/ask.ts'
import type { Answer } from '../../db/functions.ts'
import { refusalOf } from '../../db/refusal.ts'
import { endpoint } from '../../endpoint.ts'
import type { Call } from '../../env.ts'
import { ApiError, messageOf } from '../../error.ts'
import { readBody } from '../../field/read-body.ts'
import { askModel } from '../../generate/ask-model.ts'
import { repairTokensMax } from '../../generate/cost-ceiling.ts'
import { type Asked, itemOf } from '../../generate/generate.ts'
import { refusal } from '../../generate/relay.ts'
import { forms } from './forms.ts'

type FormName = keyof typeof forms

const body = z.looseObject({
  endpoint: z
    .enum(Object.keys(forms) as [FormName, ...FormName[]])
    .optional()
    .describe(
      'Where the request would be sent; without it completions for a prompt, and chat completions for messages.',
    ),
})

export const estimate = endpoint(
  {
    says: 'Says what a request would cost, and whether it would be admitted, without running it.',
    body,
    answer: shown,
  },
  async (c, caller: Caller) => {
    const { endpoint, ...given } = await readBody(c, body)
    const would = await forms[endpoint ?? ('prompt' in given ? '/v1/completions' : '/v1/chat/completions')](
      c,
      given,
      caller,
    )
    const counted = await countOf(c, caller, would)
    const { verdict, price } = await ask(c.env, 'estimate', itemOf(c, caller, would))
    return c.json(estimateOf(would, { verdict, price, counted }))
  },
)

type Counted = Awaited<ReturnType<typeof countOf>>

/** Of prompts as they are computed; null where no node can count now. */
async function countOf(c: Call, caller: Caller, { request, named }: Asked) {
  const { prompts, constraint, max_tokens, truncate_prompt } = request
  const question = {
    prompts,
    with_ids: false,
    ...(constraint && { constraint }),
    ...(truncate_prompt && { truncated: { truncate_prompt, max_tokens } }),
  }
  return askModel(c, caller, named, question).catch((error: unknown) => {
    if (error instanceof ApiError && error.code === 'model_unavailable') return null
    throw error
  })
}

function estimateOf(
  { request, ceiling }: Asked,
  { verdict, price, counted }: Omit<Answer<'estimate'>, 'decision'> & { counted: Counted },
): Estimate {
  const longest = longestOf(request, counted)
  const prompt_tokens = counted
    ? counted.prompts.reduce((sum, { count }) => sum + count, repairTokensMax(request))
    : null
  const completion_tokens_max = longest.tokens * choicesOf(request)
  const refused =
    refusalBy(verdict) ?? heldBy(counted) ?? (longest.fits ? null : new ApiError('context_length_exceeded'))
  return {
    object: 'estimate',
    model: request.model,
    prompt_tokens,
    prompt_tokens_max: ceiling.prompt_tokens_max,
    completion_tokens_max,
    service_tier: request.service_tier ?? 'default',
    pricing: shownPrice(price),
    cost_nanousd_max: prompt_tokens === null ? null : costOf(price, prompt_tokens, completion_tokens_max),
    held_nanousd: costOf(price, ceiling.prompt_tokens_max, ceiling.request_output_tokens_max),
    admitted: refused === null,
    refusal: refused ? messageOf(refused) : null,
    wait_s: counted ? counted.queue_s : null,
  }
}

/** Why its node would not hold the answer to what it has to be. */
function heldBy(counted: Counted): ApiError | null {
  return counted?.refused ? refusal({ refused: counted.refused, retry_after_s: null }) : null
}

/** The longest that a choice can become beside the longest prompt, and whether that is what was asked for. */
function longestOf({ max_tokens, max_tokens_is_default }: GenerateRequest, counted: Counted) {
  if (!counted) return { tokens: max_tokens, fits: true }
  const room = Math.max(0, counted.sequence_tokens_max - Math.max(...counted.prompts.map(({ count }) => count)))
  const tokens = max_tokens_is_default ? Math.min(max_tokens, room) : max_tokens
  return { tokens, fits: tokens >= Math.min(1, max_tokens) && tokens <= room }
}

type Price = Answer<'estimate'>['price']

function shownPrice(price: Price): Estimate['pricing'] {
  if (!price) return null
  const { input_nanousd_per_token, cached_input_nanousd_per_token, output_nanousd_per_token, version } = price
  return { input_nanousd_per_token, cached_input_nanousd_per_token, output_nanousd_per_token, version }
}

function costOf(price: Price, input: number, output: number): string | null {
  if (!price) return null
  const cost =
    BigInt(input) * BigInt(price.input_nanousd_per_token) + BigInt(output) * BigInt(price.output_nanousd_per_token)
  return String(cost)
}

function refusalBy(verdict: Answer<'admit'>): ApiError | null {
  switch (verdict.decision) {
    case 'admitted':
      return null
    case 'kept':
    case 'idempotency_mismatch':
    case 'idempotency_running':
    case 'idempotency_lost':
    case 'idempotency_resumable':
    case 'idempotency_unknown':
      throw new Error('an estimate has no Idempotency-Key')
    default:
      return refusalOf(verdict)
  }
}
