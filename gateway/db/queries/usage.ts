// What an account used, added up by day, key, model or tag: from the sums of days, never from single requests.

import { and, eq, gte, lt, type SQLWrapper, sql, sum } from 'drizzle-orm'
import { keyTagsView as keyTags, usageByDayView as usage } from '../schema/read.ts'
import type { ReadDb } from './read-db.ts'

const usageGroups = ['day', 'key', 'model', 'tag'] as const
export type UsageGroup = (typeof usageGroups)[number]

export interface UsageSpan {
  account_id: string
  /** Days of UTC; `to` is not included. */
  from: string
  to: string
  group_by: UsageGroup[]
  rows_max: number
}

/** One row for each day, key, model and tag that there are, of those that are asked for. A key's usage counts under each of its tags. */
export function sumUsage(db: ReadDb, { group_by, account_id, ...span }: UsageSpan) {
  return preparedFor(db, group_by).execute({ ...span, account_id: BigInt(account_id) })
}

type Prepared = ReturnType<typeof prepare>
const prepared = new WeakMap<ReadDb, Map<string, Prepared>>()

/** To write the statement anew takes as long as a month of a small account takes to be read. */
function preparedFor(db: ReadDb, group_by: UsageGroup[]): Prepared {
  const known = prepared.get(db) ?? new Map<string, Prepared>()
  prepared.set(db, known)
  const shape = usageGroups.filter((group) => group_by.includes(group)).join()
  const statement = known.get(shape) ?? prepare(db, group_by)
  known.set(shape, statement)
  return statement
}

function prepare(db: ReadDb, group_by: UsageGroup[]) {
  return group_by.includes('tag') ? sumByTag(db, group_by).prepare('') : sumByDay(db, group_by).prepare('')
}

function sumByDay(db: ReadDb, group_by: UsageGroup[]) {
  const fields = grouping(group_by, usage)
  return db
    .select({ ...fields, ...sums(usage.request_count, usage) })
    .from(usage)
    .where(withinSpan)
    .groupBy(...Object.values(fields))
    .orderBy(...order(fields))
    .limit(sql.placeholder('rows_max'))
}

/** Adds up for each key before its tags are joined: they meet one row of it, and not one a day. */
function sumByTag(db: ReadDb, group_by: UsageGroup[]) {
  const of_key = { ...grouping(group_by, usage), key_id: usage.key_id }
  const keyed = db
    .select({ ...of_key, ...sums(usage.request_count, usage) })
    .from(usage)
    .where(withinSpan)
    .groupBy(...Object.values(of_key))
    .as('keyed')
  const fields = { ...grouping(group_by, keyed as unknown as Columns), tag: keyTags.tag }
  return db
    .select({ ...fields, ...sums(keyed.requests, keyed) })
    .from(keyed)
    .innerJoin(keyTags, and(eq(keyTags.account_id, sql.placeholder('account_id')), eq(keyTags.key_id, keyed.key_id)))
    .groupBy(...Object.values(fields))
    .orderBy(...order(fields))
    .limit(sql.placeholder('rows_max'))
}

const withinSpan = and(
  eq(usage.account_id, sql.placeholder('account_id')),
  gte(usage.day, sql.placeholder('from')),
  lt(usage.day, sql.placeholder('to')),
)

type Columns = Pick<typeof usage, 'day' | 'key_id' | 'model'>

function grouping(group_by: UsageGroup[], { day, key_id, model }: Columns) {
  const by = (group: UsageGroup) => group_by.includes(group)
  return { ...(by('day') && { day }), ...(by('key') && { key_id }), ...(by('model') && { model }) }
}

/** Ids are in the order of texts, as they are shown. */
function order({ day, key_id, model, tag }: ReturnType<typeof grouping> & { tag?: typeof keyTags.tag }) {
  return [day, key_id && sql`${key_id}::text`, model, tag].filter((field) => field !== undefined)
}

type Counted = Record<
  'prompt_tokens' | 'cached_tokens' | 'completion_tokens' | 'cost_nanousd' | 'refunded_nanousd',
  SQLWrapper
>

function sums(requests: SQLWrapper, counted: Counted) {
  const { prompt_tokens, cached_tokens, completion_tokens, cost_nanousd, refunded_nanousd } = counted
  return {
    requests: sum(requests).mapWith(Number).as('requests'),
    prompt_tokens: sum(prompt_tokens).mapWith(Number).as('prompt_tokens'),
    cached_tokens: sum(cached_tokens).mapWith(Number).as('cached_tokens'),
    completion_tokens: sum(completion_tokens).mapWith(Number).as('completion_tokens'),
    cost_nanousd: sum(cost_nanousd).mapWith(BigInt).as('cost_nanousd'),
    refunded_nanousd: sum(refunded_nanousd).mapWith(BigInt).as('refunded_nanousd'),
  }
}
