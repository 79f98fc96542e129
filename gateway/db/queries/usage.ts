// What an account used, added up by day, key, model or tag: from the sums of days, never from single requests.

import { and, eq, gte, lt, sql, sum } from 'drizzle-orm'
import { usageByDayView, usageByTagView } from '../schema/read.ts'
import type { ReadDb } from './read-db.ts'

export type UsageGroup = 'day' | 'key' | 'model' | 'tag'

export interface UsageSpan {
  account_id: string
  /** Days of UTC; `to` is not included. */
  from: string
  to: string
  group_by: UsageGroup[]
  rows_max: number
}

/** One row for each day, key, model and tag that there are, of those that are asked for. A key's usage counts under each of its tags. */
export function sumUsage(db: ReadDb, { account_id, from, to, group_by, rows_max }: UsageSpan) {
  const usage = group_by.includes('tag') ? usageByTagView : usageByDayView
  const { fields, order } = grouping(group_by, usage)
  return db
    .select({
      ...fields,
      requests: sum(usage.request_count).mapWith(Number),
      prompt_tokens: sum(usage.prompt_tokens).mapWith(Number),
      cached_tokens: sum(usage.cached_tokens).mapWith(Number),
      completion_tokens: sum(usage.completion_tokens).mapWith(Number),
      cost_nanousd: sum(usage.cost_nanousd).mapWith(BigInt),
    })
    .from(usage)
    .where(and(eq(usage.account_id, BigInt(account_id)), gte(usage.day, from), lt(usage.day, to)))
    .groupBy(...Object.values(fields))
    .orderBy(...order)
    .limit(rows_max)
}

type UsageView = typeof usageByDayView | typeof usageByTagView

function grouping(group_by: UsageGroup[], { day, key_id, model }: UsageView) {
  const { tag } = usageByTagView
  const by = (group: UsageGroup) => group_by.includes(group)
  const fields = {
    ...(by('day') && { day }),
    ...(by('key') && { key_id }),
    ...(by('model') && { model }),
    ...(by('tag') && { tag }),
  }
  return { fields, order: Object.values({ ...fields, ...(by('key') && { key_id: sql`${key_id}::text` }) }) }
}
