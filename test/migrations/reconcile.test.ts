// Reconciling: what drifts is found by name, whichever side was changed; what does not is not.

import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { newPayer, type Payer, startTestPostgres, type TestPostgres } from '../support/postgres.ts'

let db: TestPostgres
let payer: Payer

beforeAll(async () => {
  db = await startTestPostgres()
  await db.ask('publish_price', { model: 'm', input_nanousd_per_token: '2', output_nanousd_per_token: '5' })
  const numbers = { context_tokens: 9, running: 1, waiting: 2, blocks_total: 3, blocks_free: 3 }
  await db.ask('settle', { node: { node_id: 'n', url: 'http://n', model: 'm', state: 'ready', ...numbers } })
  await db.sql`update nodes set last_seen_at = 'infinity'`
})
afterAll(() => db?.stop())
beforeEach(async () => {
  payer = await newPayer(db, 1_000_000n)
  for (let i = 0; i < 5; i += 1) await settleOne()
})

async function settleOne(): Promise<string> {
  const request_id = randomUUID()
  const tokens = { prompt_tokens_max: 10, request_output_tokens_max: 20, ttl_ms: 60_000 }
  const [ticket] = await db.ask('admit', { request_id, key_hash: payer.key_hash, model: 'm', ...tokens })
  const counts = { prompt_tokens: 10, cached_tokens: 0, completion_tokens: 4, delivered_tokens: 4, outcome: 'stop' }
  const times = { started_unix_ms: 0, first_token_ms: 1, duration_ms: 1 }
  await db.ask('settle', { ...ticket, request_id, model: 'm', attempt: 1, ...counts, ...times })
  return request_id
}

/** The checks that do not hold for this payer, after one pass in steps of three entries. */
async function failing(anew = false): Promise<string[]> {
  let after: string | null = '0'
  let steps = 0
  while (after !== null) {
    steps += 1
    const answers: { after: string | null }[] = await db.ask('reconcile', {
      after,
      entries_max: 3,
      anew: anew && after === '0',
    })
    after = answers[0]!.after
    if (steps > 1_000) throw new Error('a pass does not end')
  }
  const rows = await db.sql`select distinct check_name from ledger_findings where account_id = ${payer.account_id}`
  return rows.map(({ check_name }) => check_name).sort()
}

/** What somebody with the rights to could do by hand. */
async function tamper(statement: string): Promise<void> {
  await db.sql.begin(async (sql) => {
    await sql`set local session_replication_role = replica` // no trigger looks
    await sql.unsafe(statement)
  })
}

test('books that were kept by the functions agree, after every kind of entry', async () => {
  const { account_id } = payer
  const request_id = await settleOne()
  await db.ask('refund', { account_id, request_id, amount_nanousd: '3', reference: randomUUID() })
  await db.ask('give_grant', {
    account_id,
    amount_nanousd: '9',
    reference: randomUUID(),
    expires_at: '2000-01-01T00:00:00Z',
  })
  await db.ask('expire_due_grants', { count_max: 10 })
  await db.ask('adjust', { account_id, amount_nanousd: '3', direction: 'credit', reference: randomUUID() })
  await settleOne()
  await db.ask('adjust', {
    account_id,
    amount_nanousd: '9999999',
    direction: 'debit',
    may_overdraw: true,
    reference: randomUUID(),
  })
  expect(await failing()).toEqual([])
  const [checkpoint] = await db.sql`
    select sequence = entry_count as is_complete from ledger_checkpoints join accounts on id = account_id where id = ${account_id}`
  expect(checkpoint!.is_complete).toBe(true)
})

describe('found by name, and no longer once it is mended:', () => {
  const of = () => `where account_id = ${payer.account_id}`
  const ofAccount = () => `where id = ${payer.account_id}`
  test.each([
    [
      'credited',
      () => `update accounts set credited_nanousd = credited_nanousd + 1 ${ofAccount()}`,
      () => `update accounts set credited_nanousd = credited_nanousd - 1 ${ofAccount()}`,
    ],
    [
      'debited',
      () => `update accounts set debited_nanousd = debited_nanousd - 1 ${ofAccount()}`,
      () => `update accounts set debited_nanousd = debited_nanousd + 1 ${ofAccount()}`,
    ],
    [
      'late',
      () => `update accounts set late_nanousd = 1 ${ofAccount()}`,
      () => `update accounts set late_nanousd = 0 ${ofAccount()}`,
    ],
    [
      'pending',
      () => `update accounts set pending_nanousd = 7 ${ofAccount()}`,
      () => `update accounts set pending_nanousd = 0 ${ofAccount()}`,
    ],
    [
      'days',
      () => `update usage_daily set cost_nanousd = cost_nanousd + 1 ${of()}`,
      () => `update usage_daily set cost_nanousd = cost_nanousd - 1 ${of()}`,
    ],
    [
      'refunds',
      () => `update usage_daily set refunded_nanousd = refunded_nanousd + 1 ${of()}`,
      () => `update usage_daily set refunded_nanousd = refunded_nanousd - 1 ${of()}`,
    ],
    [
      'charges',
      () => `update usage set cost_nanousd = cost_nanousd - 1 ${of()}`,
      () => `update usage set cost_nanousd = cost_nanousd + 1 ${of()}`,
    ],
    [
      'sequence',
      () => `update entries set account_id = -account_id ${of()} and sequence = 3`,
      () => `update entries set account_id = -account_id where account_id = -${payer.account_id}`,
    ],
  ])('%s', async (check, breakIt, mendIt) => {
    await tamper(breakIt())
    expect(await failing(true)).toContain(check)
    await tamper(mendIt())
    expect(await failing(true)).toEqual([])
  })

  test('usage without its entry', async () => {
    await tamper(`delete from entries ${of()} and kind = 'usage' and sequence = 6`)
    await db.sql`update ledger_passes set usage_checked_until = clock_timestamp() - interval '1 minute'`
    await db.sql`update usage set settled_at = settled_at - interval '20 seconds' where account_id = ${payer.account_id}`
    expect(await failing()).toContain('usage')
    await db.sql`delete from ledger_findings`
  })
})

test('what was added up once is not read again', async () => {
  await failing()
  await tamper(
    `update entries set amount_nanousd = amount_nanousd + 1 where account_id = ${payer.account_id} and sequence = 2`,
  )
  expect(await failing()).toEqual([]) // so a pass stays cheap
  expect(await failing(true)).toContain('charges') // and once a day everything is
  await tamper(
    `update entries set amount_nanousd = amount_nanousd - 1 where account_id = ${payer.account_id} and sequence = 2`,
  )
})

test('health is read once, for however many it is asked by', async () => {
  const answers = await db.ask('ledger_health', ...Array.from({ length: 50 }, (_, i) => ({ findings: i === 7 })))
  expect(answers.length).toBe(50)
  expect(new Set(answers.map(({ checked_s_ago }) => checked_s_ago)).size).toBe(1)
  expect(answers.flatMap(({ findings }, i) => (findings === null ? [] : [i]))).toEqual([7])
})
