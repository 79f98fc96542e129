// What reports, statements and receipts cost on a large ledger: 10 million settled requests over twelve months, half of them of one
// account, the rest spread over two thousand. The rows are made in SQL, as settle would have left them, and reconciled; then each read is
// asked as the gateway asks it, over the connections of its own logins. A usage report is measured beside the SQL function that it was
// before (usage-before.sql), in turns. `buffers` are the 8 kB pages that it touched: what tells an index from a scan on any machine.
//   node bench/usage.ts [requests=10000000] [folder]     needs 0.8 GB of disk a million; a folder keeps the database for the next run
// PROGRAMS=/usr/lib/postgresql/15/bin takes the Postgres that is there instead of the embedded one; ONLY=reconcile leaves the reads out.

import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { drizzle } from 'drizzle-orm/postgres-js'
import postgres from 'postgres'
import { ENTRIES_MAX } from '../gateway/billing/reconcile.ts'
import { askOver, type Connection, connect } from '../gateway/db/connection.ts'
import type { Answer, Item } from '../gateway/db/functions.ts'
import { withLiterals } from '../gateway/db/literal.ts'
import type { ReadDb } from '../gateway/db/queries/read-db.ts'
import type { UsageGroup } from '../gateway/db/queries/usage.ts'
import { queries } from '../gateway/db/queries.ts'
import { connectReader } from '../gateway/db/reader.ts'
import { gatewayUrl, readerUrl } from '../local/gateway-login.ts'
import { migrate } from '../local/migrate.ts'
import { startPostgres } from '../local/postgres.ts'

const REQUESTS = Number(process.argv[2] ?? 10_000_000)
const ACCOUNTS = 2000
const SLICE = 500_000
const PLACES = 50 // in the middle of a list
const CALLS_MIN = 30 // of each way, and as many more as fit into
const MEASURED_MS = 4000
const WARM_UP_MS = 1000 // as in a gateway that runs: its code is compiled, its connections have planned
const CALL_MS_MAX = 60_000
const STEP_MS_MAX = 600_000 // of reconciling: its first step may read a table whole
const kept = process.argv[3]
const folder = kept ?? mkdtempSync(join(tmpdir(), 'ziya-usage-'))
const { PROGRAMS, ONLY } = process.env
const programs = PROGRAMS && { programs: { initdb: join(PROGRAMS, 'initdb'), postgres: join(PROGRAMS, 'postgres') } }
const server = await startPostgres({ data_dir: join(folder, 'postgres'), durable: false, ...(programs || {}) })
try {
  await migrate(server.url)
  const sql = postgres(server.url, { max: 1, fetch_types: false, onnotice: () => {} })
  if (!(await isFilled(sql))) await fill(sql)
  if (ONLY === 'reconcile') await sql`delete from ledger_checkpoints`
  else await measureReads(sql)
  if (!kept || ONLY === 'reconcile') await measureReconcile(sql)
  await sql.end()
} finally {
  await server.stop()
  if (!kept) rmSync(folder, { recursive: true, force: true })
}

async function isFilled(sql: postgres.Sql): Promise<boolean> {
  const [row] = await sql`select exists (select from usage_daily) as filled`
  return row!.filled
}

/** Request n belongs to account 1 where it is even; it came n/REQUESTS of a year after the first. */
async function fill(sql: postgres.Sql): Promise<void> {
  await sql`set session_replication_role = replica` // no check of what is right by construction
  await sql`set maintenance_work_mem = '512MB'`
  await sql`select ledger.add_usage_month(month::date) from generate_series(date '2025-01-01', '2025-12-01', '1 month') as month`
  await sql`insert into accounts (name, created_by, overdraft_nanousd) select 'bench', gen_random_uuid(), 1000000000000000000 from generate_series(1, ${ACCOUNTS})`
  await sql`insert into keys (account_id, name, hash, prefix, last_four, scopes, tags)
    select a.id, 'bench', sha256((a.id || '/' || n)::bytea), '', '', array['usage'], array['team-' || n]
    from accounts a, generate_series(1, 4) as n order by a.id, n`
  await sql`insert into prices (model, version, input_nanousd_per_token, output_nanousd_per_token, valid_from, cached_input_nanousd_per_token)
    select 'm' || n, 1, 20, 60, '2025-01-01', 5 from generate_series(1, 3) as n`
  const indexes = await dropIndexes(sql)
  for (let from = 0; from < REQUESTS; from += SLICE) {
    await sql`insert into reservations
      (request_id, account_id, key_id, model, price_version, amount_nanousd, attempt, state, created_at, expires_at, closed_at, settled_at, charged_tokens_max)
      select uuid_of, account, (account - 1) * 4 + 1 + n / 2 % 4, 'm' || 1 + n % 3, 1, 100000, 1, 'posted', at, at, at, at, 4000
      from (
        select n, gen_random_uuid() as uuid_of, timestamptz '2025-01-01Z' + n * (interval '1 year' / ${REQUESTS}) as at,
          case when n % 2 = 0 then 1 else 2 + n / 2 % ${ACCOUNTS - 1} end as account
        from generate_series(${from}::bigint, ${Math.min(from + SLICE, REQUESTS) - 1}) as n) as made`
    console.error(`${Math.round((100 * Math.min(from + SLICE, REQUESTS)) / REQUESTS)} % of the requests`)
  }
  await step(
    'usage',
    sql`insert into usage
    (request_id, account_id, attempt, prompt_tokens, cached_tokens, completion_tokens, delivered_tokens, outcome, started_at, first_token_ms,
     duration_ms, cost_nanousd, settled_at)
    select request_id, account_id, 1, 500, 100, 200, 200, 'stop', created_at, 30, 900, 400 * 20 + 100 * 5 + 200 * 60, settled_at
    from reservations`,
  )
  await step(
    'entries',
    sql`insert into entries (account_id, request_id, kind, amount_nanousd, created_at, sequence)
    select account_id, request_id, 'usage', cost_nanousd, settled_at, row_number() over (partition by account_id order by settled_at) from usage`,
  )
  await step(
    'the sums of days',
    sql`insert into usage_daily
    select u.account_id, (u.settled_at at time zone 'UTC')::date, key_id, model, price_version, count(*), sum(prompt_tokens), sum(cached_tokens),
      sum(completion_tokens), sum(cost_nanousd)
    from usage u join reservations r using (request_id) group by 1, 2, 3, 4, 5 order by 2, 1`,
  )
  await sql`update accounts a set debited_nanousd = d.cost, entry_count = d.requests from (
    select account_id, sum(cost_nanousd) as cost, sum(request_count) as requests from usage_daily group by account_id) as d where a.id = d.account_id`
  for (const { definition } of indexes)
    await step(definition.replace(/.* (INDEX|KEY) /, 'index '), sql.unsafe(definition))
  await step('vacuum', sql`vacuum analyze`)
  const [{ size, daily }] = (await sql`select pg_size_pretty(pg_database_size(current_database())) as size,
    (select count(*) from usage_daily) as daily`) as unknown as [{ size: string; daily: string }]
  console.log(`${REQUESTS.toLocaleString('en')} requests, ${Number(daily).toLocaleString('en')} sums of days, ${size}`)
}

/** Those that a bulk load would only slow down; the statements that make them again. */
async function dropIndexes(sql: postgres.Sql): Promise<{ definition: string }[]> {
  const indexes =
    await sql`select indexrelid::regclass::text as name, pg_get_indexdef(indexrelid) as definition from pg_index
    where indrelid in ('reservations'::regclass, 'entries'::regclass)
      and not exists (select from pg_constraint where conindid = indexrelid)`
  for (const { name } of indexes) await sql.unsafe(`drop index ${name}`)
  return indexes as unknown as { definition: string }[]
}

async function step(name: string, work: PromiseLike<unknown>): Promise<void> {
  const started = performance.now()
  await work
  console.error(`${name}: ${((performance.now() - started) / 1000).toFixed(1)} s`)
}

async function measureReads(sql: postgres.Sql): Promise<void> {
  await sql.unsafe(readFileSync(new URL('usage-before.sql', import.meta.url), 'utf8'))
  const functions = connect(await gatewayUrl(sql, server.url), CALL_MS_MAX)
  const views = connectReader(await readerUrl(sql, server.url), CALL_MS_MAX)
  for (const [who, account_id] of [
    ['an account of 2,500 a year', '1000'],
    ['the account with half of all', '1'],
  ] as const) {
    const [key] =
      await sql`select encode(hash, 'hex') as hash from keys where account_id = ${account_id} order by id limit 1`
    const asker = { account_id, key_hash: key!.hash as string }
    console.log(`\n${who}`)
    await measureReports({ sql, functions, views }, asker)
    await measurePages({ sql, functions, views }, asker)
  }
  functions.discard()
  views.discard()
}

interface Measured {
  sql: postgres.Sql
  functions: Connection
  views: Connection
}

interface Asker {
  account_id: string
  key_hash: string
}

/** Each report by a key: its account found, then its days added up; beside the one function that did both. */
async function measureReports({ sql, functions, views }: Measured, { account_id, key_hash }: Asker): Promise<void> {
  const year = { from: '2025-01-01', to: '2026-01-01', rows_max: 10_001 }
  const month = { ...year, from: '2025-06-01', to: '2025-07-01' }
  const all: UsageGroup[] = ['day', 'key', 'model', 'tag']
  const reports = [
    ...[...all.map((group) => [group]), all].map((group_by) => ({ what: 'a month', span: month, group_by })),
    ...[...all.map((group) => [group]), all].map((group_by) => ({ what: 'a year', span: year, group_by })),
  ]
  for (const { what, span, group_by } of reports) {
    const item = { ...span, group_by }
    const [before, now, query] = await inTurns([
      () => functions.call('report_usage_before', [{ key_hash, ...item }]),
      async () => {
        await functions.call('find_account', [{ key_hash, scope: 'usage' }])
        await views.call('sum_usage', [{ account_id, ...item }])
      },
      () => views.call('sum_usage', [{ account_id, ...item }]), // which is all that the operator's costs
    ])
    const buffers = await buffersOf(sql, (db) => queries.sum_usage(db, { account_id, ...item }))
    console.log(
      `${`${what} by ${group_by.join(', ')}`.padEnd(34)} before ${ms(before!)}   now ${ms(now!)} (${times(now!, before!)})` +
        `   the query alone ${ms(query!)} (${times(query!, before!)})   ${buffers} buffers`,
    )
  }
}

async function measurePages({ sql, functions, views }: Measured, { account_id, key_hash }: Asker): Promise<void> {
  const requests = await sql`select request_id from reservations where account_id = ${account_id}
    and created_at > '2025-06-15' order by created_at limit ${PLACES}`
  const entries = await sql`select id from entries where account_id = ${account_id} order by sequence
    offset (select entry_count / 2 from accounts where id = ${account_id}) limit ${PLACES}`
  const request = (n: number) => requests[n % requests.length]!.request_id as string
  const page = (n: number) => ({ account_id, limit: 100, after: entries[n % entries.length]!.id as string })
  const asks: [string, (n: number) => Promise<unknown>][] = [
    ['the last 100 requests', () => functions.call('list_usage', [{ key_hash, limit: 100, after: null }])],
    ['100 requests of last summer', (n) => functions.call('list_usage', [{ key_hash, limit: 100, after: request(n) }])],
    ['one receipt', (n) => functions.call('read_usage', [{ key_hash, request_id: request(n) }])],
    ['the last 100 entries', () => views.call('list_entries', [{ account_id, limit: 100 }])],
    ['100 entries of last summer', (n) => views.call('list_entries', [page(n)])],
  ]
  for (const [what, ask] of asks) console.log(`${what.padEnd(34)} ${ms((await inTurns([ask]))[0]!)}`)
  const buffers = await buffersOf(sql, (db) => queries.list_entries(db, page(0)))
  console.log(`a page of entries touches ${buffers} buffers`)
}

/** The medians of some ways to do the same, in turns, so that what else the machine does befalls all of them. */
async function inTurns(ways: ((n: number) => Promise<unknown>)[]): Promise<number[]> {
  const warm_at = performance.now() + WARM_UP_MS
  while (performance.now() < warm_at) for (const way of ways) await way(0)
  const end_at = performance.now() + MEASURED_MS
  const taken: number[][] = ways.map(() => [])
  for (let n = 0; n < CALLS_MIN || performance.now() < end_at; n += 1) {
    for (const [i, way] of ways.entries()) {
      const started = performance.now()
      await way(n)
      taken[i]!.push(performance.now() - started)
    }
  }
  return taken.map((times_ms) => times_ms.toSorted((a, b) => a - b)[Math.floor(times_ms.length / 2)]!)
}

function ms(value_ms: number): string {
  return `${value_ms.toFixed(1).padStart(6)} ms`
}

function times(a: number, b: number): string {
  return `× ${(a / b).toFixed(2)}`
}

async function buffersOf(sql: postgres.Sql, query: (db: ReadDb) => PromiseLike<unknown>): Promise<number> {
  const asked: [text: string, params: unknown[]][] = []
  await query(drizzle(sql, { logger: { logQuery: (text, params) => void asked.push([text, params]) } }))
  const [row] = await sql.unsafe(`explain (analyze, buffers, format json) ${withLiterals(...asked[0]!)}`)
  const { Plan: plan } = row!['QUERY PLAN'][0]
  return plan['Shared Hit Blocks'] + plan['Shared Read Blocks']
}

/** Passes of the gateway's own steps; a step is held to be in time within its lane's deadline (gateway/db/teller.ts). */
async function measureReconcile(sql: postgres.Sql): Promise<void> {
  for (const what of ['every entry anew', 'what changed since', 'what changed since']) {
    const connection = connect(server.url, STEP_MS_MAX) // a new one: nothing is planned there yet
    const steps_ms: number[] = []
    for (let after: string | null = '0'; after !== null; ) {
      const anew = after === '0' && what === 'every entry anew'
      const item: Item<'reconcile'> = { after, entries_max: ENTRIES_MAX, anew }
      const started = performance.now()
      const [step]: Answer<'reconcile'>[] = await askOver(connection, 'reconcile', item)
      steps_ms.push(performance.now() - started)
      after = step!.after
    }
    const findings = await sql`select * from ledger_findings`
    const all_ms = steps_ms.reduce((sum, step_ms) => sum + step_ms, 0)
    console.log(
      `reconcile, ${what}: ${steps_ms.length} steps in${ms(all_ms)}, the slowest${ms(Math.max(...steps_ms))}, ` +
        `the first${ms(steps_ms[0]!)}, ${findings.length} findings`,
    )
    connection.discard()
  }
}
