// GET /v1/usage and /v1/usage/{request_id}: what an account's requests used and cost, with the lines of the ledger.

import { z } from 'zod'
import { authenticate } from '../auth/authenticate.ts'
import { read } from '../billing/ledger.ts'
import type { Call } from '../env.ts'
import { ApiError } from '../error.ts'

interface UsageReport {
  request_id: string
}

const uuid = z.guid().transform((id) => id.toLowerCase())
const page = z.strictObject({
  limit: z
    .string()
    .regex(/^\d{1,3}$/)
    .transform(Number)
    .pipe(z.int().min(1).max(100))
    .default(20),
  after: uuid.optional(),
})

export async function listUsage(c: Call): Promise<Response> {
  const key_hash = await authenticate(c.req.raw)
  const query = page.safeParse(c.req.query())
  if (!query.success) throw badQuery(query.error)
  const { limit, after = null } = query.data
  const { usage } = await read<{ usage: UsageReport[] }>(c.env, 'list_usage', { key_hash, limit, after } as never)
  const data = usage.slice(0, limit).map(withObject)
  return c.json({ object: 'list', data, has_more: usage.length > limit, last_id: data.at(-1)?.request_id ?? null })
}

export async function retrieveUsage(c: Call): Promise<Response> {
  const key_hash = await authenticate(c.req.raw)
  const request_id = uuid.safeParse(c.req.param('request_id'))
  if (!request_id.success) throw new ApiError('not_found')
  const item = { key_hash, request_id: request_id.data }
  const { usage } = await read<{ usage: UsageReport }>(c.env, 'read_usage', item)
  return c.json(withObject(usage))
}

function withObject(usage: UsageReport) {
  return { object: 'usage', ...usage }
}

function badQuery({ issues: [issue] }: z.ZodError): ApiError {
  if (issue?.code === 'unrecognized_keys')
    return new ApiError('unknown_parameter', { param: issue.keys[0]!.slice(0, 100) })
  return new ApiError('invalid_value', { param: String(issue?.path[0]) })
}
