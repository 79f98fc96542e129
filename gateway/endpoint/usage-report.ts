// What was used, added up by day, key, model and tag, as JSON or CSV. Days are of UTC, when the request was settled; `to` is not
// included.

import { accepts } from 'hono/accepts'
import * as z from 'zod'
import { type UsageSum, usageGroup } from '../../contract/public/usage.ts'
import type { Caller, Operator } from '../auth/authenticate.ts'
import { csvText } from '../billing/csv.ts'
import { accountOf, rowsOf } from '../db/query.ts'
import type { Call } from '../env.ts'
import { ApiError } from '../error.ts'
import { publicRow } from '../field/public-row.ts'
import { day } from '../field/time.ts'

type Span = { from?: string | undefined; to?: string | undefined; format?: 'json' | 'csv' | undefined }

const ROWS_MAX = 10_000
const DAY_MS = 86_400_000
const columns = { day: 'day', key: 'key_id', model: 'model', tag: 'tag' } as const
const sums = [
  'requests',
  'prompt_tokens',
  'cached_tokens',
  'completion_tokens',
  'cost_nanousd',
  'refunded_nanousd',
  'net_nanousd',
] as const

export const groups = z
  .string()
  .transform((text) => text.split(','))
  .pipe(z.array(usageGroup).max(4))
export const span = {
  from: day.optional(), // thirty days ago
  to: day.optional(), // tomorrow
  format: z.enum(['json', 'csv']).optional(),
}
interface Wanted extends Span {
  asker: Caller | (Operator & { account_id: string })
  group_by: (keyof typeof columns)[]
}

export async function reportUsage(
  c: Call,
  { asker, group_by, from = dayAfter(-30), to = dayAfter(1), format }: Wanted,
): Promise<Response> {
  if (to <= from) throw new ApiError('invalid_value', { param: 'to', message: "Expected a day after 'from'." })
  const account_id = 'operator' in asker ? asker.account_id : await accountOf(c.env, { ...asker, scope: 'usage' })
  const rows = await rowsOf(c.env, 'sum_usage', { account_id, from, to, group_by, rows_max: ROWS_MAX + 1 })
  const data: UsageSum[] = rows
    .slice(0, ROWS_MAX)
    .map((row) => publicRow({ ...row, net_nanousd: row.cost_nanousd - row.refunded_nanousd }))
  const wanted =
    format ?? accepts(c, { header: 'Accept', supports: ['application/json', 'text/csv'], default: 'application/json' })
  if (wanted === 'csv' || wanted === 'text/csv') return csv(data, group_by)
  return c.json({ object: 'usage_report', from, to, group_by, data, has_more: rows.length > ROWS_MAX })
}

function csv(data: UsageSum[], group_by: Wanted['group_by']): Response {
  const names = [...group_by.map((group) => columns[group]), ...sums]
  const lines = [names, ...data.map((row) => names.map((name) => String(row[name] ?? '')))]
  return new Response(csvText(lines), {
    headers: { 'content-type': 'text/csv; charset=utf-8', 'content-disposition': 'attachment; filename="usage.csv"' },
  })
}

function dayAfter(days: number): string {
  return new Date(Date.now() + days * DAY_MS).toISOString().slice(0, 10)
}
