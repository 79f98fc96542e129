// A migrated Postgres of its own for a test file, thrown away afterwards; and the calls on it that tests of the ledger make.

import { createHash, randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import postgres from 'postgres'
import type { FunctionName } from '../../gateway/db/functions.ts'
import { migrate } from '../../local/migrate.ts'
import { type RunningPostgres, startPostgres } from '../../local/postgres.ts'
import { checked, type Told } from './boundary.ts'
import { newCluster } from './cluster.ts'

export interface TestPostgres extends RunningPostgres {
  sql: postgres.Sql
  data_dir: string
  /** Stops the server alone, as a failure would, and keeps its data. */
  stopServer(): Promise<void>
  ask: Ask
}

/** Calls a function of the boundary with some items; they and the answers are checked (boundary.ts). */
export type Ask = <N extends FunctionName>(name: N, ...items: object[]) => Promise<Told<N>[]>

/** `prepare` is called with its URL while it is still empty. */
export async function startTestPostgres(prepare?: (url: string) => Promise<void>): Promise<TestPostgres> {
  const folder = mkdtempSync(join(tmpdir(), 'ziya-postgres-'))
  const data_dir = join(folder, 'data')
  await newCluster(data_dir, prepare === undefined)
  const running = await startPostgres({ data_dir, durable: false })
  await prepare?.(running.url)
  if (prepare) await migrate(running.url)
  const sql = postgres(running.url, { max: 4, prepare: false, fetch_types: false, onnotice: () => {} })
  await waitPatiently(sql)
  return {
    ...running,
    sql,
    data_dir,
    stopServer: running.stop,
    ask: askOver(sql),
    stop: async () => {
      await sql.end({ timeout: 5 })
      await running.stop()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

/** The machine is shared: a lock that is waited for in a busy moment is no lock that somebody holds for long. */
async function waitPatiently(sql: postgres.Sql): Promise<void> {
  await sql.unsafe(`do $$ declare called regprocedure; begin
    for called in select oid from pg_proc where pronamespace = 'api'::regnamespace loop
      execute format('alter function %s set lock_timeout = %L', called, '60s');
    end loop;
  end $$`)
}

export function askOver(sql: postgres.Sql): Ask {
  return async (name, ...items) => checked(name, items, await call(sql, name, items))
}

/** Calls any function of the schema `api`, unchecked. */
export async function call(sql: postgres.Sql, name: string, items: object[]): Promise<unknown[]> {
  const rows = await sql`select ${sql(`api.${name}`)}(${JSON.stringify(items)}::text::jsonb) as answer`
  return rows.map((row) => row.answer)
}

export interface Payer {
  account_id: string
  key_id: string
  key_hash: string
}

/** An account with credit, and a key of it. */
export function newPayer(db: TestPostgres, credit_nanousd: bigint, key: object = {}): Promise<Payer> {
  return newPayerBy(db.ask, credit_nanousd, key)
}

export async function newPayerBy(ask: Ask, credit_nanousd: bigint, key: object = {}): Promise<Payer> {
  const [account] = await ask('create_account', {
    name: 'payer',
    created_by: randomUUID(),
    overdraft_nanousd: '0',
  })
  const account_id = account!.account_id
  await ask('top_up', { account_id, amount_nanousd: String(credit_nanousd), reference: randomUUID() })
  return { account_id, ...(await newKeyBy(ask, account_id, key)) }
}

export function newKey(db: TestPostgres, account_id: string, own: object = {}) {
  return newKeyBy(db.ask, account_id, own)
}

async function newKeyBy(ask: Ask, account_id: string, own: object) {
  const hash = createHash('sha256').update(randomUUID()).digest('hex')
  const fields = { name: 'key', hash, prefix: 'zc_live_test', last_four: 'test', scopes: ['generate', 'usage'] }
  const [key] = await ask('create_key', {
    operator: true,
    account_id,
    ...fields,
    models: null,
    expires_at: null,
    ...own,
  })
  return { key_id: key!.key_id, key_hash: hash }
}

/** What is wrong with the books of these accounts, one line a finding: DESIGN §3, in one snapshot. */
export async function ledgerFindings(sql: postgres.Sql, account_ids: string[]): Promise<string[]> {
  const ids = `{${account_ids}}`
  const rows = await sql`
    with mine as (select * from accounts where id = any (${ids}::bigint[])),
    lines as (
      select e.*, kind in ('top_up', 'grant', 'refund', 'adjustment_credit') as is_credit,
        kind in ('usage', 'late_usage') as is_usage, kind in ('late_usage', 'adjustment_late_debit') as is_late
      from entries e where account_id = any (${ids}::bigint[])),
    held as (select * from reservations where account_id = any (${ids}::bigint[])),
    used as (select * from usage where account_id = any (${ids}::bigint[])),
    books as (
      select a.*,
        (select coalesce(sum(amount_nanousd), 0) from lines e where e.account_id = a.id and is_credit) as credits,
        (select coalesce(sum(amount_nanousd), 0) from lines e where e.account_id = a.id and not is_credit) as debits,
        (select coalesce(sum(amount_nanousd), 0) from lines e where e.account_id = a.id and is_usage) as charged,
        (select coalesce(sum(amount_nanousd), 0) from lines e where e.account_id = a.id and is_late) as late,
        (select coalesce(sum(cost_nanousd), 0) from used u where u.account_id = a.id) as used,
        (select coalesce(sum(cost_nanousd), 0) from usage_daily d where d.account_id = a.id) as used_daily,
        (select coalesce(sum(request_count), 0) from usage_daily d where d.account_id = a.id) as requests_daily,
        (select coalesce(sum(refunded_nanousd), 0) from usage_daily d where d.account_id = a.id) as refunded_daily,
        (select coalesce(sum(amount_nanousd), 0) from lines e where e.account_id = a.id and kind = 'refund') as refunded,
        (select count(*) from used u where u.account_id = a.id) as requests,
        (select count(*) from lines e where e.account_id = a.id) as line_count,
        (select coalesce(max(sequence), 0) from lines e where e.account_id = a.id) as last_sequence,
        (select coalesce(sum(amount_nanousd), 0) from held r where r.account_id = a.id and state = 'pending') as held
      from mine a)
    select id, 'credited is not the sum of its credits' as finding from books where credited_nanousd <> credits
    union all select id, 'debited is not the sum of its debits' from books where debited_nanousd <> debits
    union all select id, 'what was charged is not what was used' from books where charged <> used
    union all select id, 'the days are not the sum of what was used' from books where (used_daily, requests_daily) <> (used, requests)
    union all select id, 'the days are not the sum of what was refunded' from books where refunded_daily <> refunded
    union all select coalesce(made.account_id, summed.account_id), 'the days by metadata are not the sum of what was used' from (
        select r.account_id, name, value, count(*) as requests, sum(cost_nanousd) as cost, sum((
          select coalesce(sum(amount_nanousd), 0) from lines e where e.request_id = r.request_id and kind = 'refund')) as refunded
        from held r join used u using (request_id) cross join jsonb_each_text(metadata) as pair (name, value) group by 1, 2, 3) as made
      full join (
        select account_id, name, value, sum(request_count) as requests, sum(cost_nanousd) as cost, sum(refunded_nanousd) as refunded
        from usage_metadata_daily where account_id = any (${ids}::bigint[]) group by 1, 2, 3) as summed
      on (made.account_id, made.name, made.value) = (summed.account_id, summed.name, summed.value)
      where (made.requests, made.cost, made.refunded) is distinct from (summed.requests, summed.cost, summed.refunded)
    union all select m.account_id, 'a cap does not count what was charged this month, less what came back of it' from meters m
      where m.account_id = any (${ids}::bigint[]) and m.month = ledger.this_month() and m.charged_nanousd <> (
        select coalesce(sum(case kind when 'refund' then - e.amount_nanousd else e.amount_nanousd end), 0)
        from lines e join held r using (request_id) join keys k on k.id = r.key_id
        where e.account_id = m.account_id and (m.key_id = 0 or coalesce(k.metered_as, k.id) = m.key_id)
          and date_trunc('month', r.settled_at at time zone 'UTC') = m.month)
    union all select id, 'late is not the sum of late entries' from books where late_nanousd <> late
    union all select id, 'pending is not the sum of open reservations' from books where pending_nanousd <> held
    union all select id, 'an entry is missing' from books where line_count <> last_sequence or entry_count <> last_sequence
    union all select id, 'overspent' from books
      where debited_nanousd - late_nanousd + pending_nanousd > credited_nanousd + overdraft_nanousd
    union all select r.account_id, 'charged above its reservation' from held r join used u using (request_id)
      where cost_nanousd > amount_nanousd
    union all select r.account_id, 'charged twice' from held r join lines e using (request_id)
      where is_usage group by r.account_id, r.request_id having count(*) > 1
    union all select r.account_id, 'posted is not the same as charged in time' from held r
      left join lines e on e.request_id = r.request_id and is_usage
      where (state = 'posted') <> (coalesce(e.kind, '') = 'usage')
    union all select r.account_id, 'settled is not the same as used' from held r left join used u using (request_id)
      where r.settled_at is distinct from u.settled_at
    union all select r.account_id, 'voided and charged' from held r join used using (request_id) where state = 'voided'
    union all select e.account_id, 'refunded more than was charged' from lines e
      where request_id is not null group by e.account_id, e.request_id
      having sum(amount_nanousd) filter (where kind = 'refund') > sum(amount_nanousd) filter (where is_usage)
    union all select r.account_id, 'at another account’s price' from held r
      join prices p on p.model = r.model and p.version = r.price_version where p.account_id <> r.account_id
    union all select g.account_id, 'a grant is not what was taken from it' from grants g
      left join grant_spends s on s.grant_id = g.entry_id left join lines e on e.id = s.entry_id
      where g.account_id = any (${ids}::bigint[])
      group by g.entry_id
      having g.spent_nanousd <> coalesce(sum(s.amount_nanousd) filter (where e.kind <> 'grant_expiry'), 0)
          - (select coalesce(sum(b.amount_nanousd), 0) from grant_returns b where b.grant_id = g.entry_id)
        or g.expired_nanousd <> coalesce(sum(s.amount_nanousd) filter (where e.kind = 'grant_expiry'), 0)`
  return rows.map(({ id, finding }) => `account ${id}: ${finding}`)
}

interface Grant {
  id: string
  expires_at: Date
  left: bigint
}

/**
 * Replays the entries of these accounts in their order: every debit must have taken from the grants what it could, and every refund have
 * given back to them in the reverse order.
 */
export async function grantFindings(sql: postgres.Sql, account_ids: string[]): Promise<string[]> {
  const rows = await sql`
    select e.id, e.account_id, e.kind, e.amount_nanousd, g.expires_at, coalesce(r.created_at, e.created_at) as valid_at,
      (select coalesce(jsonb_agg(jsonb_build_array(s.grant_id::text, s.amount_nanousd::text) order by s.grant_id), '[]')
       from (select * from grant_spends union all select * from grant_returns) as s where s.entry_id = e.id) as spends, e.request_id
    from entries e left join grants g on g.entry_id = e.id
    left join reservations r on r.request_id = e.request_id and e.kind in ('usage', 'late_usage')
    where e.account_id = any (${`{${account_ids}}`}::bigint[]) order by e.account_id, e.sequence`
  const findings: string[] = []
  for (const lines of Map.groupBy(rows, ({ account_id }) => account_id).values()) {
    const grants: Grant[] = []
    const charges = new Map<string, Charge>()
    for (const line of lines) {
      if (line.kind === 'grant')
        grants.push({ id: line.id, expires_at: line.expires_at, left: BigInt(line.amount_nanousd) })
      const taken = line.kind === 'refund' ? returnsOf(line as never, charges) : spendsOf(line as never, grants)
      if (line.request_id && line.kind !== 'refund') charges.set(line.request_id, chargeOf(line as never, grants))
      if (taken !== JSON.stringify(line.spends))
        findings.push(`account ${line.account_id}: ${line.kind} took ${JSON.stringify(line.spends)}, not ${taken}`)
    }
    for (const grant of grants) if (grant.left !== 0n) findings.push(`grant ${grant.id} neither spent nor expired`)
  }
  return findings
}

/** What paid a charge and has not come back: money, and parts of grants in the order that they were taken in. */
interface Charge {
  money: bigint
  parts: { grant: Grant; left: bigint }[]
}

function chargeOf(line: { amount_nanousd: string; spends: [string, string][] }, grants: Grant[]): Charge {
  const parts = line.spends
    .map(([id, amount]) => ({ grant: grants.find((grant) => grant.id === id)!, left: BigInt(amount) }))
    .sort((a, b) => byEnd(a.grant, b.grant))
  return { money: BigInt(line.amount_nanousd) - parts.reduce((sum, { left }) => sum + left, 0n), parts }
}

function returnsOf(line: { amount_nanousd: string; request_id: string }, charges: Map<string, Charge>): string {
  const charge = charges.get(line.request_id)!
  let rest = BigInt(line.amount_nanousd)
  const money = rest < charge.money ? rest : charge.money
  charge.money -= money
  rest -= money
  const given: [string, string][] = []
  for (const part of charge.parts.toReversed()) {
    const back = rest < part.left ? rest : part.left
    if (back === 0n) continue
    part.left -= back
    part.grant.left += back
    rest -= back
    given.push([part.grant.id, String(back)])
  }
  return rest > 0n ? 'more than was charged' : JSON.stringify(given.sort(([a], [b]) => Number(BigInt(a) - BigInt(b))))
}

function byEnd(a: Grant, b: Grant): number {
  return a.expires_at.getTime() - b.expires_at.getTime() || Number(BigInt(a.id) - BigInt(b.id))
}

function spendsOf(
  line: { kind: string; amount_nanousd: string; valid_at: Date; spends: [string, string][] },
  grants: Grant[],
): string {
  if (['top_up', 'grant', 'refund', 'adjustment_credit'].includes(line.kind)) return '[]'
  const isExpiry = line.kind === 'grant_expiry'
  const open = grants
    .filter(
      (grant) => (isExpiry ? grant.id === line.spends[0]?.[0] : grant.expires_at > line.valid_at) && grant.left > 0n,
    )
    .sort(byEnd)
  let rest = BigInt(line.amount_nanousd)
  const taken: [string, string][] = []
  for (const grant of open) {
    const part = grant.left < rest ? grant.left : rest
    if (part === 0n) break
    grant.left -= part
    rest -= part
    taken.push([grant.id, String(part)])
  }
  taken.sort(([a], [b]) => Number(BigInt(a) - BigInt(b)))
  return isExpiry && rest > 0n ? 'more than was left' : JSON.stringify(taken)
}
