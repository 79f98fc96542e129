// GET /v1/usage and /v1/usage/{request_id}: what an account's requests used and cost, with the lines of the ledger; one request as
// a signed receipt, and with ?group_by= the sums of days, as JSON or CSV.

import * as z from 'zod'
import { authenticateAdmin, type Caller, identify } from '../../auth/authenticate.ts'
import { ask, read } from '../../billing/ledger.ts'
import type { Call } from '../../env.ts'
import { ApiError } from '../../error.ts'
import { receiptSignerOf } from './receipt-keys.ts'
import { reportUsage } from './usage-report.ts'

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
  if (c.req.query('group_by') !== undefined) return reportUsage(c)
  const caller = await identify(c)
  const query = page.safeParse(c.req.query())
  if (!query.success) throw badQuery(query.error)
  const { limit, after = null } = query.data
  const { usage } = await read<{ usage: UsageReport[] }>(c.env, 'list_usage', { ...caller, limit, after } as never)
  const data = usage.slice(0, limit).map(withObject)
  return c.json({ object: 'list', data, has_more: usage.length > limit, last_id: data.at(-1)?.request_id ?? null })
}

export async function retrieveUsage(c: Call): Promise<Response> {
  return receipt(c, await identify(c))
}

export async function retrieveAnyUsage(c: Call): Promise<Response> {
  await authenticateAdmin(c.req.raw, c.env.ADMIN_KEY)
  return receipt(c, { operator: true })
}

async function receipt(c: Call, asker: Caller | { operator: true }): Promise<Response> {
  const request_id = uuid.safeParse(c.req.param('request_id'))
  if (!request_id.success) throw new ApiError('not_found')
  const item = { ...asker, request_id: request_id.data }
  const { usage } = await ask<{ usage: UsageReport }>(c.env, 'read_usage', item)
  const signer = await receiptSignerOf(c.env)
  return c.json(await signer.sign({ ...withObject(usage), signed_unix_s: Math.floor(Date.now() / 1000) }))
}

function withObject(usage: UsageReport) {
  return { object: 'usage', ...usage }
}

function badQuery({ issues: [issue] }: z.ZodError): ApiError {
  if (issue?.code === 'unrecognized_keys')
    return new ApiError('unknown_parameter', { param: issue.keys[0]!.slice(0, 100) })
  return new ApiError('invalid_value', { param: String(issue?.path[0]) })
}
