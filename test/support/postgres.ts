// A migrated Postgres of its own for a test file, thrown away afterwards; and the calls on it that tests of the ledger make.

import { createHash, randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import postgres from 'postgres'
import { migrate } from '../../local/migrate.ts'
import { type RunningPostgres, startPostgres } from '../../local/postgres.ts'

export interface TestPostgres extends RunningPostgres {
  sql: postgres.Sql
  data_dir: string
  /** Stops the server alone, as a failure would, and keeps its data. */
  stopServer(): Promise<void>
  /** Calls a set-wise SQL function with some items. */
  ask<A = { decision: string }>(name: string, ...items: object[]): Promise<(A & { decision: string })[]>
}

/** `prepare` is called with its URL while it is still empty. */
export async function startTestPostgres(prepare?: (url: string) => Promise<void>): Promise<TestPostgres> {
  const folder = mkdtempSync(join(tmpdir(), 'ziya-postgres-'))
  const data_dir = join(folder, 'data')
  const running = await startPostgres({ data_dir, durable: false })
  await prepare?.(running.url)
  await migrate(running.url)
  const sql = postgres(running.url, { max: 4, prepare: false, fetch_types: false, onnotice: () => {} })
  return {
    ...running,
    sql,
    data_dir,
    stopServer: running.stop,
    ask: async (name, ...items) => {
      const rows = await sql`select ${sql(name)}(${JSON.stringify(items)}::text::jsonb) as answer`
      return rows.map((row) => row.answer)
    },
    stop: async () => {
      await sql.end({ timeout: 5 })
      await running.stop()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

export interface Payer {
  account_id: string
  key_id: string
  key_hash: string
}

/** An account with credit, and a key of it. */
export async function newPayer(db: TestPostgres, credit_nanousd: bigint, key: object = {}): Promise<Payer> {
  const [account] = await db.ask<{ account_id: string }>('create_account', {
    name: 'payer',
    created_by: randomUUID(),
    overdraft_nanousd: '0',
  })
  const account_id = account!.account_id
  await db.ask('top_up', { account_id, amount_nanousd: String(credit_nanousd), reference: randomUUID() })
  return { account_id, ...(await newKey(db, account_id, key)) }
}

export async function newKey(db: TestPostgres, account_id: string, own: object = {}) {
  const hash = createHash('sha256').update(randomUUID()).digest('hex')
  const fields = { name: 'key', hash, prefix: 'zc_live_test', last_four: 'test', scopes: ['generate', 'usage'] }
  const [key] = await db.ask<{ key_id: string }>('create_key', {
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
    with books as (
      select a.*,
        (select coalesce(sum(amount_nanousd), 0) from entries e where e.account_id = a.id and kind = 'top_up') as topped_up,
        (select coalesce(sum(amount_nanousd), 0) from entries e where e.account_id = a.id and kind in ('usage', 'late_usage')) as charged,
        (select coalesce(sum(amount_nanousd), 0) from entries e where e.account_id = a.id and kind = 'late_usage') as charged_late,
        (select coalesce(sum(cost_nanousd), 0) from usage u where u.account_id = a.id) as used,
        (select coalesce(sum(amount_nanousd), 0) from reservations r where r.account_id = a.id and state = 'pending') as held
      from accounts a where a.id = any (${ids}::bigint[]))
    select id, 'credited is not the sum of top-ups' as finding from books where credited_nanousd <> topped_up
    union all select id, 'debited is not the sum of usage entries' from books where debited_nanousd <> charged
    union all select id, 'debited is not the sum of what was used' from books where debited_nanousd <> used
    union all select id, 'late is not the sum of late entries' from books where late_nanousd <> charged_late
    union all select id, 'pending is not the sum of open reservations' from books where pending_nanousd <> held
    union all select id, 'overspent' from books
      where debited_nanousd - late_nanousd + pending_nanousd > credited_nanousd + overdraft_nanousd
    union all select r.account_id, 'charged above its reservation' from reservations r join usage u using (request_id)
      where cost_nanousd > amount_nanousd and r.account_id = any (${ids}::bigint[])
    union all select r.account_id, 'charged twice' from reservations r join entries e using (request_id)
      where r.account_id = any (${ids}::bigint[]) group by r.account_id, r.request_id having count(*) > 1
    union all select r.account_id, 'posted is not the same as charged in time' from reservations r left join entries e using (request_id)
      where (state = 'posted') <> (coalesce(e.kind, '') = 'usage') and r.account_id = any (${ids}::bigint[])
    union all select r.account_id, 'voided and charged' from reservations r join usage using (request_id)
      where state = 'voided' and r.account_id = any (${ids}::bigint[])`
  return rows.map(({ id, finding }) => `account ${id}: ${finding}`)
}
