// What an account used, added up by day, key, model, tag or metadata: from the sums of days, never from single requests.

import { and, eq, gt, gte, lt, type SQLWrapper, sql, sum } from 'drizzle-orm'
import { unionAll } from 'drizzle-orm/pg-core'
import {
  fullMetadataView as full,
  keyTagsView as keyTags,
  usageByMetadataView as metadata,
  usageByDayView as usage,
} from '../schema/read.ts'
import type { ReadDb } from './read-db.ts'

const usageGroups = ['day', 'key', 'model', 'tag', 'metadata'] as const
export type UsageGroup = (typeof usageGroups)[number]

export interface UsageSpan {
  account_id: string
  /** Days of UTC; `to` is not included. */
  from: string
  to: string
  group_by: UsageGroup[]
  /** The name in the metadata of requests that is grouped by; and the one value of it that is wanted. */
  metadata?: { name: string; value?: string | undefined } | undefined
  rows_max: number
}

/**
 * One row for each day, key, model, tag and value that there are, of those that are asked for. A key's usage counts under each of its tags.
 * What has no value of the name, or none that was kept, counts under null.
 */
export function sumUsage(db: ReadDb, { group_by, account_id, metadata, ...span }: UsageSpan) {
  return preparedFor(db, group_by, sourceFor(metadata)).execute({
    ...{ ...span, account_id: BigInt(account_id) },
    ...{ name: metadata?.name, value: metadata?.value },
  })
}

/** The days on which not all values of the name were kept: one of them where there are any. */
export function findFullMetadata(
  db: ReadDb,
  { account_id, name, from, to }: Pick<UsageSpan, 'account_id' | 'from' | 'to'> & { name: string },
) {
  return db
    .select({ day: full.day })
    .from(full)
    .where(
      and(
        eq(full.account_id, BigInt(account_id)),
        gte(full.day, from),
        lt(full.day, to),
        sql`${full.name} in ('', ${name})`,
      ),
    )
    .limit(1)
}

/** What is added up: all, what has one value of a name, or all with the value that it has. */
type Source = 'all' | 'of a value' | 'by value'

function sourceFor(metadata: UsageSpan['metadata']): Source {
  if (!metadata) return 'all'
  return metadata.value === undefined ? 'by value' : 'of a value'
}

type Prepared = ReturnType<typeof prepare>
const prepared = new WeakMap<ReadDb, Map<string, Prepared>>()

/** To write the statement anew takes as long as a month of a small account takes to be read. */
function preparedFor(db: ReadDb, group_by: UsageGroup[], source: Source): Prepared {
  const known = prepared.get(db) ?? new Map<string, Prepared>()
  prepared.set(db, known)
  const shape = [source, ...usageGroups.filter((group) => group_by.includes(group))].join()
  const statement = known.get(shape) ?? prepare(db, group_by, source)
  known.set(shape, statement)
  return statement
}

function prepare(db: ReadDb, group_by: UsageGroup[], source: Source) {
  const used = usedBy(db, source)
  return (group_by.includes('tag') ? sumByTag(db, group_by, used) : sumByDay(db, group_by, used)).prepare('')
}

type Used = ReturnType<typeof usedInAll>

function usedBy(db: ReadDb, source: Source): Used {
  if (source === 'all') return usedInAll(db)
  const named = and(within(metadata), eq(metadata.name, sql.placeholder('name')))
  const kept = db.select({ ...countsOf(metadata), value: valueAs(metadata.value) }).from(metadata)
  if (source === 'of a value')
    return kept.where(and(named, eq(metadata.value, sql.placeholder('value')))).as('used') as unknown as Used
  const counted = db.select({ ...lessOf(metadata), value: NO_VALUE }).from(metadata)
  return unionAll(allOf(db), kept.where(named), counted.where(named)).as('used') as unknown as Used
}

function usedInAll(db: ReadDb) {
  return allOf(db).as('used')
}

const NO_VALUE = valueAs(sql`null::text`)

function allOf(db: ReadDb) {
  return db
    .select({ ...countsOf(usage), value: NO_VALUE })
    .from(usage)
    .where(within(usage))
}

function valueAs(value: SQLWrapper) {
  return sql<string | null>`${value}`.as('value')
}

type Counted = Pick<
  typeof usage,
  | 'day'
  | 'key_id'
  | 'model'
  | 'request_count'
  | 'prompt_tokens'
  | 'cached_tokens'
  | 'completion_tokens'
  | 'cost_nanousd'
  | 'refunded_nanousd'
>

function countsOf(from: Counted | typeof metadata) {
  const { day, key_id, model, request_count, prompt_tokens } = from
  const { cached_tokens, completion_tokens, cost_nanousd, refunded_nanousd } = from
  return {
    ...{ day, key_id, model, request_count, prompt_tokens },
    ...{ cached_tokens, completion_tokens, cost_nanousd, refunded_nanousd },
  }
}

/** What has a value of its own counts no more under null. */
function lessOf(from: typeof metadata) {
  const { day, key_id, model, ...counts } = countsOf(from)
  const less = Object.entries(counts).map(([name, column]) => [name, sql`-${column}`.as(name)])
  return { day, key_id, model, ...(Object.fromEntries(less) as Omit<Counted, 'day' | 'key_id' | 'model'>) }
}

function within({ account_id, day }: typeof usage | typeof metadata) {
  return and(
    eq(account_id, sql.placeholder('account_id')),
    gte(day, sql.placeholder('from')),
    lt(day, sql.placeholder('to')),
  )
}

function sumByDay(db: ReadDb, group_by: UsageGroup[], used: Used) {
  const fields = grouping(group_by, used)
  return db
    .select({ ...fields, ...sums(used.request_count, used) })
    .from(used)
    .groupBy(...Object.values(fields))
    .having(gt(sum(used.request_count), 0))
    .orderBy(...order(fields))
    .limit(sql.placeholder('rows_max'))
}

/** Adds up for each key before its tags are joined: they meet one row of it, and not one a day. */
function sumByTag(db: ReadDb, group_by: UsageGroup[], used: Used) {
  const of_key = { ...grouping(group_by, used), key_id: used.key_id }
  const keyed = db
    .select({ ...of_key, ...sums(used.request_count, used) })
    .from(used)
    .groupBy(...Object.values(of_key))
    .having(gt(sum(used.request_count), 0))
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

type Columns = Pick<Used, 'day' | 'key_id' | 'model' | 'value'>

function grouping(group_by: UsageGroup[], { day, key_id, model, value }: Columns) {
  const by = (group: UsageGroup) => group_by.includes(group)
  return {
    ...(by('day') && { day }),
    ...(by('key') && { key_id }),
    ...(by('model') && { model }),
    ...(by('metadata') && { value }),
  }
}

/** Ids are in the order of texts, as they are shown. */
function order({ day, key_id, model, tag, value }: ReturnType<typeof grouping> & { tag?: typeof keyTags.tag }) {
  return [day, key_id && sql`${key_id}::text`, model, tag, value].filter((field) => field !== undefined)
}

type Summed = Record<
  'prompt_tokens' | 'cached_tokens' | 'completion_tokens' | 'cost_nanousd' | 'refunded_nanousd',
  SQLWrapper
>

function sums(requests: SQLWrapper, counted: Summed) {
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
