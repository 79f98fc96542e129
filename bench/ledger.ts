// What the ledger carries: admit and settle through the gateway's own batching (a lane each, as a teller has them), on one account and
// spread over two thousand; durable settles, client and Postgres on this machine. Beside it pgbench, where it is installed, sends the
// same two statements bare, one item a call, at 16 connections.
//   node bench/ledger.ts [seconds=8]

import { execFileSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import postgres from 'postgres'
import { askOver, callOf, connect } from '../gateway/db/connection.ts'
import type { Answer, FunctionName, Item } from '../gateway/db/functions.ts'
import { Lane } from '../gateway/db/lane.ts'
import { gatewayUrl } from '../local/gateway-login.ts'
import { migrate } from '../local/migrate.ts'
import { startPostgres } from '../local/postgres.ts'
import { quantile } from './quantile.ts'

const SECONDS = Number(process.argv[2] ?? 8)
const ACCOUNTS = 2000
const model = 'm'

const counts = {
  prompt_tokens: 5,
  cached_tokens: 0,
  completion_tokens: 32,
  delivered_tokens: 32,
  outcome: 'stop' as const,
  started_unix_ms: Date.now(),
  first_token_ms: 1,
  duration_ms: 2,
}

interface Payer {
  key_hash: string
}

const folder = mkdtempSync(join(tmpdir(), 'ziya-bench-'))
const server = await startPostgres({ data_dir: join(folder, 'postgres') })
await migrate(server.url)
const sql = postgres(server.url, { max: 1, fetch_types: false, onnotice: () => {} })
const database = connect(server.url, 60_000)
await prepare()
const gateway_url = await gatewayUrl(sql, server.url)
const payers = (await sql`select encode(hash, 'hex') as key_hash from keys order by id`) as unknown as Payer[]

await pairs('warming up', payers.slice(1, 2), 16, 2)
for (const at_once of [1, 8, 12, 16, 64]) await pairs('one account', payers.slice(0, 1), at_once, SECONDS)
for (const at_once of [64, 256]) await pairs(`${ACCOUNTS} accounts`, payers, at_once, SECONDS)
await sql`vacuum analyze`
for (const [name, one] of [
  ['one account', true],
  [`${ACCOUNTS} accounts`, false],
] as const)
  pgbench(name, one)
await expectBooksToBalance()
database.discard()
await sql.end()
await server.stop()
rmSync(folder, { recursive: true, force: true })
process.exit(0)

async function askLane<N extends FunctionName>(lane: Lane, name: N, item: Item<N>): Promise<Answer<N>> {
  return (await lane.ask(name, item)) as Answer<N>
}

async function prepare(): Promise<void> {
  const price = { model, input_nanousd_per_token: '20', output_nanousd_per_token: '60' }
  const numbers = { context_tokens: 1, running: 0, waiting: 0, blocks_total: 1, blocks_free: 1 }
  await askOver(database, 'publish_price', price)
  await askOver(database, 'settle', { node: { node_id: 'n', url: 'http://n', model, state: 'ready', ...numbers } })
  await sql`update nodes set last_seen_at = 'infinity'`
  await sql`insert into accounts (name, created_by, overdraft_nanousd) select 'bench', gen_random_uuid(), 1000000000000 from generate_series(1, ${ACCOUNTS})`
  await sql`insert into keys (account_id, name, hash, prefix, last_four, scopes)
    select id, 'bench', sha256(id::text::bytea), '', '', array['generate'] from accounts`
  await fillLog()
  await sql`analyze accounts, keys, meters, prices` // not of the empty ones: their plans are made for tables that grow
}

/** A server that has run for a while writes its log into files it has had before; a new one is made of zeros first, which takes 35 ms. */
async function fillLog(): Promise<void> {
  await sql`alter system set min_wal_size = '1GB'`
  await sql`select pg_reload_conf()`
  for (let file = 0; file < 40; file += 1)
    await sql`select pg_switch_wal() from pg_logical_emit_message(true, 'bench', '')`
  await sql`checkpoint`
}

/** Closed loop through one lane for admissions and one for settlements. */
async function pairs(name: string, among: Payer[], at_once: number, seconds: number): Promise<void> {
  const options = { connect: () => connect(gateway_url, 20_000), patience_ms: 20_000 }
  const admit = new Lane(options)
  const settle = new Lane({ ...options, after: admit })
  const end = performance.now() + seconds * 1000
  const times: number[] = []
  let turn = 0
  const one = async () => {
    while (performance.now() < end) {
      const request_id = randomUUID()
      const { key_hash } = among[turn++ % among.length]!
      const started = performance.now()
      const tokens = { prompt_tokens_max: 9, request_output_tokens_max: 32, ttl_ms: 60_000 }
      const admitted = await askLane(admit, 'admit', { request_id, key_hash, model, ...tokens })
      if (admitted.decision !== 'admitted') throw new Error(`admit: ${admitted.decision}`)
      const settled = await askLane(settle, 'settle', { ...admitted, request_id, model, attempt: 1, ...counts })
      if (settled.decision !== 'posted') throw new Error(`settle: ${settled.decision}`)
      times.push(performance.now() - started)
    }
  }
  await Promise.all(Array.from({ length: at_once }, one))
  if (name !== 'warming up')
    row(name, `${at_once} at once`, times.length / seconds, quantile(times, 0.5), quantile(times, 0.99))
}

/** The two statements as they are, by Postgres' own client, which batches nothing. */
function pgbench(name: string, one_account: boolean): void {
  const script = join(folder, 'pairs.sql')
  // pgbench puts its variables in as text, inside of quotes too. Another decision divides by zero, which ends it.
  const admission = `jsonb_build_array(jsonb_build_object('request_id', ':request_id',
  'key_hash', encode(sha256(':account'::text::bytea), 'hex'), 'model', '${model}',
  'prompt_tokens_max', 9, 'request_output_tokens_max', 32, 'ttl_ms', 60000))`
  const settlement = `jsonb_build_array('${JSON.stringify({ model, attempt: 1, ...counts })}'::jsonb
  || jsonb_build_object('request_id', ':request_id', 'account_id', ':account'))`
  writeFileSync(
    script,
    `\\set account ${one_account ? '1' : `random(1, ${ACCOUNTS})`}
select gen_random_uuid() as request_id \\gset
select 1 / count(*) from ${callOf('admit', admission)} as answer where answer ->> 'decision' = 'admitted';
select 1 / count(*) from ${callOf('settle', settlement)} as answer where answer ->> 'decision' = 'posted';
`,
  )
  const url = new URL(server.url)
  const flags = [
    '-n',
    '-c',
    '16',
    '-j',
    '2',
    '-T',
    String(SECONDS),
    '-f',
    script,
    '-h',
    url.hostname,
    '-p',
    url.port,
    '-U',
    url.username,
    'postgres',
  ]
  try {
    const env = { ...process.env, PGPASSWORD: decodeURIComponent(url.password) }
    const output = execFileSync('pgbench', flags, { env, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
    const [, rate] = /tps = ([\d.]+)/.exec(output)!
    const [, mean] = /latency average = ([\d.]+)/.exec(output)!
    console.log(
      `${`pgbench, ${name}`.padEnd(24)} 16 connections  ${Number(rate).toFixed(0).padStart(6)} pairs/s   mean ${mean} ms`,
    )
  } catch (error) {
    const { code, stderr } = error as { code?: string; stderr?: string }
    console.log(`pgbench, ${name}: ${code === 'ENOENT' ? 'not installed' : stderr?.trim()}`)
  }
}

async function expectBooksToBalance(): Promise<void> {
  for (let after: string | null = '0'; after !== null; ) {
    const item: Item<'reconcile'> = { after, entries_max: 100_000, anew: after === '0' }
    const [step]: Answer<'reconcile'>[] = await askOver(database, 'reconcile', item)
    after = step!.after
  }
  const findings = await sql`select * from ledger_findings`
  const [{ count }] = (await sql`select count(*) from entries`) as unknown as [{ count: string }]
  console.log(`${count} entries, ${findings.length} findings`)
}

function row(name: string, how: string, rate: number, p50: number, p99: number): void {
  console.log(
    `${name.padEnd(24)} ${how.padEnd(14)} ${rate.toFixed(0).padStart(7)} pairs/s   p50 ${p50.toFixed(2)}   p99 ${p99.toFixed(2)} ms`,
  )
}
