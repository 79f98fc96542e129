// What usage is charged whose reservation the ledger does not know: only where a crash can have lost it, and only so much.

import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { startPostgres } from '../../local/postgres.ts'
import { ledgerFindings, newPayer, type Payer, startTestPostgres, type TestPostgres } from '../support/postgres.ts'

let db: TestPostgres
let payer: Payer

beforeAll(async () => {
  db = await startTestPostgres()
  await db.ask('publish_price', { model: 'm', input_nanousd_per_token: '2', output_nanousd_per_token: '5' })
})
afterAll(() => db?.stop())
beforeEach(async () => {
  payer = await newPayer(db, 1000n)
})

const counts = { prompt_tokens: 10, cached_tokens: 0, completion_tokens: 4, delivered_tokens: 4, outcome: 'stop' }
const times = { started_unix_ms: 0, first_token_ms: null, duration_ms: 1 }
const COST = 40

/** Usage under a ticket whose reservation is not there. */
function lost(own: object = {}) {
  const { account_id, key_id } = payer
  const reservation = { request_id: randomUUID(), account_id, key_id, model: 'm', attempt: 1, price_version: 1 }
  const ticket = { ...reservation, reserved_nanousd: '100', issued_unix_ms: Date.now() - 3_600_000, node_id: 'n' }
  return { ...ticket, ...counts, ...times, ...own }
}

async function settle(...items: { request_id: string }[]) {
  const answers = await db.ask('settle', ...items)
  const ids = items.map(({ request_id }) => request_id)
  const rows = await db.sql`select kind from anomalies where request_id = any (${`{${ids}}`}::uuid[]) order by id`
  const [account] = await db.sql`select debited_nanousd from accounts where id = ${payer.account_id}`
  expect(await ledgerFindings(db.sql, [payer.account_id])).toEqual([])
  return {
    decisions: answers.map(({ decision }) => decision),
    anomalies: rows.map(({ kind }) => kind),
    debited: Number(account!.debited_nanousd),
  }
}

test('what was signed before the database last came up is charged as late usage', async () => {
  expect(await settle(lost())).toEqual({ decisions: ['late'], anomalies: [], debited: COST })
})

test('what was signed after it is an anomaly and no money: nothing can have been lost since', async () => {
  const unreserved = { decisions: ['rejected'], anomalies: ['unreserved'], debited: 0 }
  expect(await settle(lost({ issued_unix_ms: Date.now() + 120_000 }))).toEqual(unreserved)
})

test('what was signed for more than any request reserves is an anomaly and no money', async () => {
  const above = { decisions: ['rejected'], anomalies: ['above_late_limit'], debited: 0 }
  expect(await settle(lost({ reserved_nanousd: '20000000001' }))).toEqual(above)
  expect((await settle(lost({ reserved_nanousd: '20000000000' }))).decisions).toEqual(['late'])
})

test('a gateway of the release before, which does not say when it signed, is held to the same sums', async () => {
  const { issued_unix_ms: _, node_id: __, ...old } = lost()
  expect(await settle(old)).toEqual({ decisions: ['late'], anomalies: [], debited: COST })
  const above = { ...old, request_id: randomUUID(), reserved_nanousd: '5000000000000' }
  expect((await settle(above)).anomalies).toEqual(['above_late_limit'])
})

test('an account is charged no more in all than its limit, within a call and over many', async () => {
  await db.sql`update late_limits set account_nanousd_max = 250`
  expect(await settle(lost(), lost(), lost())).toEqual({
    decisions: ['late', 'late', 'rejected'],
    anomalies: ['above_late_limit'],
    debited: 2 * COST,
  })
  expect((await settle(lost())).anomalies).toEqual(['above_late_limit'])
  payer = await newPayer(db, 1000n) // of another account nothing is counted
  expect((await settle(lost())).decisions).toEqual(['late'])
  await db.sql`update late_limits set account_nanousd_max = default`
})

test('a refused one is refused again, and what is reserved beside it in the call settles', async () => {
  const refused = lost({ issued_unix_ms: Date.now() + 120_000 })
  expect((await settle(refused, lost())).decisions).toEqual(['rejected', 'late'])
  expect((await settle(refused)).decisions).toEqual(['rejected'])
})

test('the gateway’s login cannot lift the limits', async () => {
  const [may] = await db.sql`select has_table_privilege('ziya_gateway', 'late_limits', 'update, insert, delete') as may`
  expect(may).toEqual({ may: false })
})

test('a crash begins a new life of the database, a clean stop does not', async () => {
  const began = async () => {
    await db.sql`select ledger.life_began_at()`
    const [row] = await db.sql`select began_at from ledger_life`
    return Number(row!.began_at)
  }
  const first = await began()
  const port = Number(new URL(db.url).port)
  await db.stopServer()
  let server = await startPostgres({ data_dir: db.data_dir, port, durable: false })
  expect(await began()).toBe(first)
  process.kill(server.pid, 'SIGQUIT')
  await server.exited
  server = await startPostgres({ data_dir: db.data_dir, port, durable: false })
  expect(await began()).toBeGreaterThan(first)
  // A dump that is restored brings the row along, into a database of another number.
  await db.sql`update ledger_life set database_number = 1, began_at = 'epoch'`
  expect(await began()).toBeGreaterThan(first)
  await db.sql.end({ timeout: 5 })
  await server.stop()
})
