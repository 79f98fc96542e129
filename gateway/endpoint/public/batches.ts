// /v1/batches: files of requests that are run within a day, below what somebody waits for. An answer of these says how far one is; what
// brings it on is in batch-steps.ts.

import * as z from 'zod'
import * as shown from '../../../contract/public/batch.ts'
import * as pages from '../../../contract/public/page.ts'
import type { Caller } from '../../auth/authenticate.ts'
import { obtain } from '../../db/ask.ts'
import type { Answer } from '../../db/functions.ts'
import { endpoint } from '../../endpoint.ts'
import type { Call } from '../../env.ts'
import { generationFields } from '../../field/generation.ts'
import { batchId, fileId, pathId } from '../../field/id.ts'
import { pageOf, pageQuery } from '../../field/page.ts'
import { readQuery } from '../../field/query.ts'
import { readBody } from '../../field/read-body.ts'
import { unixSeconds } from '../../field/time.ts'
import { bucketOf } from '../../files/part.ts'
import { advanceSoon } from './batch-steps.ts'

const EXPIRES_AFTER_S = 30 * 86_400

const creation = z.strictObject({
  input_file_id: fileId,
  endpoint: shown.batchEndpoint,
  completion_window: z.literal('24h'),
  metadata: generationFields.metadata,
  output_expires_after: z
    .strictObject({ anchor: z.literal('created_at'), seconds: z.int().min(3600).max(EXPIRES_AFTER_S) })
    .nullish(),
})

export const createBatch = endpoint(
  {
    says: 'Runs the requests of a file within a day.',
    body: creation,
    example: { input_file_id: 'file-1', endpoint: '/v1/chat/completions', completion_window: '24h' },
    answer: shown.batch,
  },
  async (c, caller: Caller) => {
    const { metadata = null, output_expires_after, input_file_id, endpoint } = await readBody(c, creation)
    bucketOf(c.env)
    const { batch } = await obtain(
      c.env,
      'create_batch',
      {
        ...caller,
        created_by: c.var.operation.id,
        input_file_id,
        endpoint,
        metadata,
        output_expires_after_s: output_expires_after?.seconds ?? EXPIRES_AFTER_S,
      },
      'created',
    )
    advanceSoon(c)
    return c.json(publicBatch(batch))
  },
)

const listing = pageQuery({ after: batchId.optional() })

export const listBatches = endpoint(
  {
    says: 'Lists the batches, the newest first.',
    query: listing,
    answer: pages.pageOf(shown.batch).extend({ first_id: z.string().nullable() }),
  },
  async (c, caller: Caller) => {
    const page = readQuery(c, listing)
    const { batches } = await obtain(c.env, 'list_batches', { ...caller, ...page }, 'allowed')
    const data = batches.map(publicBatch)
    return c.json({ ...pageOf(data, page.limit, ({ id }) => id), first_id: data[0]?.id ?? null })
  },
)

export const retrieveBatch = endpoint({ says: 'Shows a batch.', answer: shown.batch }, async (c, caller: Caller) =>
  c.json(publicBatch((await obtain(c.env, 'read_batch', named(c, caller), 'allowed')).batch)),
)

export const cancelBatch = endpoint(
  {
    says: 'Begins nothing more of a batch. What runs is finished, and what was answered can be read.',
    answer: shown.batch,
  },
  async (c, caller: Caller) => {
    const { batch } = await obtain(c.env, 'cancel_batch', named(c, caller), 'allowed')
    advanceSoon(c)
    return c.json(publicBatch(batch))
  },
)

function named(c: Call, caller: Caller) {
  return { ...caller, batch_id: pathId(c, 'id', batchId) }
}

type Kept = Extract<Answer<'read_batch'>, { decision: 'allowed' }>['batch']

const MOMENTS = [
  'in_progress_at',
  'finalizing_at',
  'completed_at',
  'failed_at',
  'expired_at',
  'cancelling_at',
  'cancelled_at',
] as const

function publicBatch({ id, state, errors, usage, ...kept }: Kept): z.infer<typeof shown.batch> {
  const moments = MOMENTS.map((name) => [name, kept[name] && unixSeconds(kept[name])] as const)
  const { prompt_tokens, cached_tokens, completion_tokens } = usage
  return {
    ...kept,
    ...(Object.fromEntries(moments) as Record<(typeof MOMENTS)[number], number | null>),
    object: 'batch',
    id: `batch_${id}`,
    errors: errors.length > 0 ? { object: 'list', data: errors } : null,
    input_file_id: `file-${kept.input_file_id}`,
    completion_window: '24h',
    status: state,
    output_file_id: kept.output_file_id && `file-${kept.output_file_id}`,
    error_file_id: kept.error_file_id && `file-${kept.error_file_id}`,
    created_at: unixSeconds(kept.created_at),
    expires_at: unixSeconds(kept.expires_at),
    usage: {
      input_tokens: prompt_tokens,
      input_tokens_details: { cached_tokens },
      output_tokens: completion_tokens,
      output_tokens_details: { reasoning_tokens: 0 },
      total_tokens: prompt_tokens + completion_tokens,
    },
  }
}
