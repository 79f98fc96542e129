// What reports and receipts cost on a large ledger: 10 million settled requests over twelve months, half of them of one account, the
// rest spread over two thousand. The rows are made in SQL, as settle would have left them, and reconciled; then each read is called as
// the gateway calls it. `buffers` are the 8 kB pages that the slowest one touched: what tells an index from a scan on any machine.
//   node bench/usage.ts [requests=10000000]     needs 1.2 GB of disk a million

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import postgres from 'postgres'
import { migrate } from '../local/migrate.ts'
import { startPostgres } from '../local/postgres.ts'

const REQUESTS = Number(process.argv[2] ?? 10_000_000)
const ACCOUNTS = 2000
const SLICE = 500_000
const CALLS = 50
const folder = mkdtempSync(join(tmpdir(), 'ziya-usage-'))
const server = await startPostgres({ data_dir: join(folder, 'postgres'), durable: false })
try {
  await migrate(server.url)
  const sql = postgres(server.url, { max: 1, fetch_types: false, onnotice: () => {} })
  await fill(sql)
  await measureReads(sql)
  await measureReconcile(sql)
  await sql.end()
} finally {
  await server.stop()
  rmSync(folder, { recursive: true, force: true })
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
      (request_id, account_id, key_id, model, price_version, amount_nanousd, attempt, state, created_at, expires_at, closed_at, settled_at, tokens_max)
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
  const year = { from: '2025-01-01', to: '2026-01-01', rows_max: 10_001 }
  const month = { ...year, from: '2025-06-01', to: '2025-07-01' }
  for (const [who, account] of [
    ['an account of 2,500 a year', '1000'],
    ['the account with half of all', '1'],
  ] as const) {
    const key_hash = (
      await sql`select encode(hash, 'hex') as hash from keys where account_id = ${account} order by id limit 1`
    )[0]!.hash
    const middle = await sql`select request_id from reservations where account_id = ${account}
      and created_at > '2025-06-15' order by created_at limit ${CALLS}`
    const asks: [string, string, (n: number) => object][] = [
      ['a month by day', 'report_usage', () => ({ key_hash, ...month, group_by: ['day'] })],
      [
        'a month by day, key, model, tag',
        'report_usage',
        () => ({ key_hash, ...month, group_by: ['day', 'key', 'model', 'tag'] }),
      ],
      ['a year by model', 'report_usage', () => ({ key_hash, ...year, group_by: ['model'] })],
      ['the last 100 requests', 'list_usage', () => ({ key_hash, limit: 100, after: null })],
      [
        '100 requests of last summer',
        'list_usage',
        (n) => ({ key_hash, limit: 100, after: middle[n % middle.length]!.request_id }),
      ],
      ['one receipt', 'read_usage', (n) => ({ key_hash, request_id: middle[n % middle.length]!.request_id })],
    ]
    for (const [what, name, item] of asks) await measure(sql, `${who}: ${what}`, name, item)
  }
}

async function measure(sql: postgres.Sql, what: string, name: string, item: (n: number) => object): Promise<void> {
  const times: number[] = []
  let buffers = 0
  for (let n = 0; n < CALLS; n += 1) {
    const items = JSON.stringify([item(n)])
    const started = performance.now()
    const [row] = await sql`select ${sql(`api.${name}`)}(${items}::text::jsonb) as answer`
    times.push(performance.now() - started)
    if (row!.answer.decision !== 'allowed') throw new Error(`${name}: ${row!.answer.decision}`)
  }
  for (let n = 0; n < 3; n += 1) {
    const [row] =
      await sql`explain (analyze, buffers, format json) select ${sql(`api.${name}`)}(${JSON.stringify([item(n)])}::text::jsonb)`
    const [{ Plan: plan }] = row!['QUERY PLAN']
    buffers = Math.max(buffers, plan['Shared Hit Blocks'] + plan['Shared Read Blocks'])
  }
  const at = (share: number) =>
    times
      .toSorted((a, b) => a - b)
      [Math.floor(share * (CALLS - 1))]!.toFixed(1)
      .padStart(7)
  console.log(`${what.padEnd(62)} p50 ${at(0.5)} ms   p98 ${at(0.98)} ms   ${buffers} buffers`)
}

async function measureReconcile(sql: postgres.Sql): Promise<void> {
  for (const what of ['every entry anew', 'what changed since']) {
    const started = performance.now()
    for (let after: string | null = '0'; after !== null; ) {
      const items: string = JSON.stringify([
        { after, entries_max: 100_000, anew: after === '0' && what === 'every entry anew' },
      ])
      const [row]: postgres.Row[] = await sql`select api.reconcile(${items}::text::jsonb) as answer`
      after = row!.answer.after
    }
    const findings = await sql`select * from ledger_findings`
    console.log(
      `reconcile, ${what}: ${((performance.now() - started) / 1000).toFixed(1)} s, ${findings.length} findings`,
    )
  }
}
