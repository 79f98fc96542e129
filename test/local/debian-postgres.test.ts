// Debian's PostgreSQL as it comes: it takes the migrations, and what the gateway asks of it is not compiled first, which would take longer
// than any caller waits. Here even the cheapest statement is compiled where it may be.

import postgres from 'postgres'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type RunningGateway, startGateway } from '../../local/gateway.ts'
import { migrate } from '../../local/migrate.ts'
import type { RunningPostgres } from '../../local/postgres.ts'
import { DEBIAN_ABSENT, debianPrograms, startDebianPostgres } from '../support/debian-postgres.ts'
import { admin_key, bundledOnce, PATIENT } from '../support/gateway.ts'
import { TICKET_SEED } from '../support/keys.ts'

const is_absent = debianPrograms() === null

describe.skipIf(is_absent)(`on the PostgreSQL of the distribution${is_absent ? `: ${DEBIAN_ABSENT}` : ''}`, () => {
  let server: RunningPostgres
  let sql: postgres.Sql
  let gateway: RunningGateway

  beforeAll(async () => {
    server = await startDebianPostgres({
      shared_preload_libraries: 'pg_stat_statements',
      'pg_stat_statements.track': 'all',
      jit_above_cost: '0',
    })
    await migrate(server.url)
    sql = postgres(server.url, { max: 1, prepare: false, fetch_types: false, onnotice: () => {} })
    await sql`create extension pg_stat_statements`
    const database_url = server.url
    const worker = await bundledOnce()
    gateway = await startGateway({
      port: 0,
      database_url,
      worker,
      ticket_seeds: TICKET_SEED,
      admin_key,
      vars: PATIENT,
      log: () => {},
    })
    await sql`select pg_stat_statements_reset()` // what prepared the database was no call of the gateway's
  })
  afterAll(async () => {
    await gateway?.stop()
    await sql?.end({ timeout: 5 })
    await server?.stop()
  })

  test('JIT is on there', async () => {
    expect(await sql`select current_setting('jit') as jit, pg_jit_available() as available`).toEqual([
      { jit: 'on', available: true },
    ])
  })

  test('every duty of the cron is done, four times, and the books are known to agree', async () => {
    for (let run = 0; run < 4; run += 1) await gateway.runScheduled() // throws where a duty fails
    const answer = await fetch(`${gateway.url}/healthz/ledger`)
    expect([answer.status, await answer.json()]).toMatchObject([200, { status: 'ok', failing: [] }])
    expect((await fetch(`${gateway.url}/readyz`)).status).toBe(200)
  })

  test('each function of the boundary runs, and nothing inside of one is compiled; nor is what the reader asks', async () => {
    await sql`set track_functions = 'pl'`
    const functions = await sql`select proname as name from pg_proc where pronamespace = 'api'::regnamespace`
    // An item that says nothing reaches the first statement that needs a field of it; no item reaches every set-wise one.
    for (const { name } of functions)
      for (const items of ['[]', '[{}]']) await sql.unsafe(`select api.${name}('${items}')`).catch(refusedItem)
    for (const { name } of await sql`select relname as name from pg_class where relnamespace = 'read'::regnamespace`)
      await sql.unsafe(`select count(*) from read.${name}`)
    const compiled = await sql`
      select left(query, 200) as query, rolname, jit_functions from pg_stat_statements s join pg_roles r on r.oid = userid
      where jit_functions > 0 and (not toplevel or rolname like 'ziya_reader%') and query not ilike '%pg_stat_statements%'`
    expect(compiled).toEqual([])
    // Without a function around it the same is compiled: what is looked at here would be seen.
    const [{ seen }] =
      (await sql`select count(*)::int as seen from pg_stat_statements where jit_functions > 0`) as unknown as [
        { seen: number },
      ]
    expect(seen).toBeGreaterThan(0)
  })
})

/** What a function says of an item that says nothing is its affair; that a function is broken is not. */
function refusedItem(error: { code?: string; message: string }): void {
  if (/^(42|XX)/.test(error.code ?? 'XX')) throw error
}
