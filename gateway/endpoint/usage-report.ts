// What was used, added up by day, key, model, tag and a name of the metadata of requests, as JSON or CSV. Days are of UTC, when the
// request was settled; `to` is not included.

import { accepts } from 'hono/accepts'
import * as z from 'zod'
import { type UsageReport, type UsageSum, usageGroup } from '../../contract/public/usage.ts'
import type { Caller, Operator } from '../auth/authenticate.ts'
import { csvText } from '../billing/csv.ts'
import { accountOf, rowsOf } from '../db/query.ts'
import type { Call } from '../env.ts'
import { ApiError } from '../error.ts'
import { publicRow } from '../field/public-row.ts'
import { day } from '../field/time.ts'

interface Span {
  from?: string | undefined
  to?: string | undefined
  format?: 'json' | 'csv' | undefined
  metadata?: Named | undefined
}

/** A name in the metadata of requests, and the value of it that is wanted. */
interface Named {
  name: string
  value?: string | undefined
}

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
  .pipe(z.array(usageGroup).max(5))
export const span = {
  from: day.optional(), // thirty days ago
  to: day.optional(), // tomorrow
  format: z.enum(['json', 'csv']).optional(),
  metadata: z
    .string()
    .regex(/^[^=]{1,64}=/s)
    .transform((text) => ({ name: text.slice(0, text.indexOf('=')), value: text.slice(text.indexOf('=') + 1) }))
    .describe('NAME=VALUE: of the requests whose metadata have this value of this name.')
    .optional(),
}
interface Wanted extends Span {
  asker: Caller | (Operator & { account_id: string })
  group_by: Groups
}
type Groups = UsageReport['group_by']

export async function reportUsage(
  c: Call,
  { asker, group_by, from = dayAfter(-30), to = dayAfter(1), format, metadata: wanted }: Wanted,
): Promise<Response> {
  if (to <= from) throw new ApiError('invalid_value', { param: 'to', message: "Expected a day after 'from'." })
  const account_id = 'operator' in asker ? asker.account_id : await accountOf(c.env, { ...asker, scope: 'usage' })
  const metadata = wanted ?? namedIn(group_by)
  checkName(metadata, group_by)
  const span = { account_id, from, to }
  const rows = await rowsOf(c.env, 'sum_usage', {
    ...{ ...span, metadata, rows_max: ROWS_MAX + 1 },
    group_by: group_by.map((group) => (isMetadata(group) ? 'metadata' : group)),
  })
  const data: UsageSum[] = rows.slice(0, ROWS_MAX).map(({ value, ...row }) =>
    publicRow({
      ...row,
      ...(value !== undefined && { metadata: { [metadata!.name]: value } }),
      net_nanousd: row.cost_nanousd - row.refunded_nanousd,
    }),
  )
  if (isCsv(c, format)) return csv(data, group_by)
  const full = metadata && (await rowsOf(c.env, 'find_full_metadata', { ...span, name: metadata.name }))
  return c.json({
    ...{ object: 'usage_report', from, to, group_by, data, has_more: rows.length > ROWS_MAX },
    ...(full && { is_limited: full.length > 0 }),
  })
}

const PREFIX = 'metadata.'

function isMetadata(group: Groups[number]): group is `metadata.${string}` {
  return group.startsWith(PREFIX)
}

function namedIn(group_by: Groups): Named | undefined {
  const group = group_by.find(isMetadata)
  return group && { name: group.slice(PREFIX.length) }
}

/** Sums are kept for each name by itself, so a report is by one. */
function checkName(metadata: Named | undefined, group_by: Groups): void {
  if (group_by.filter(isMetadata).every((group) => group.slice(PREFIX.length) === metadata?.name)) return
  throw new ApiError('invalid_value', {
    param: 'group_by',
    message: 'A report is by one name of the metadata at most.',
  })
}

function isCsv(c: Call, format: Span['format']): boolean {
  const wanted =
    format ?? accepts(c, { header: 'Accept', supports: ['application/json', 'text/csv'], default: 'application/json' })
  return wanted === 'csv' || wanted === 'text/csv'
}

function csv(data: UsageSum[], group_by: Groups): Response {
  const names = [...group_by.map((group) => (isMetadata(group) ? group : columns[group])), ...sums]
  const told = (row: UsageSum, name: string) => {
    const value = name.startsWith(PREFIX) ? row.metadata?.[name.slice(PREFIX.length)] : row[name as keyof UsageSum]
    return String(value ?? '')
  }
  const lines = [names, ...data.map((row) => names.map((name) => told(row, name)))]
  return new Response(csvText(lines), {
    headers: { 'content-type': 'text/csv; charset=utf-8', 'content-disposition': 'attachment; filename="usage.csv"' },
  })
}

function dayAfter(days: number): string {
  return new Date(Date.now() + days * DAY_MS).toISOString().slice(0, 10)
}
