// The claim in one test: a balance for one request admits one of 64 at once, in ROUNDS=n rounds.

import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { connect } from '../../gateway/db/connection.ts'
import type { FunctionName } from '../../gateway/db/functions.ts'
import { Lane } from '../../gateway/db/lane.ts'
import { checked } from '../support/boundary.ts'
import { draws } from '../support/draws.ts'
import { newPayer, startTestPostgres, type TestPostgres } from '../support/postgres.ts'

const ROUNDS = draws('ROUNDS', { few: 80, all: 1000 })
const AT_ONCE = 64
const LANES = 8
const PRICE = 7n * 20n

let db: TestPostgres

beforeAll(async () => {
  db = await startTestPostgres()
  await db.ask('publish_price', { model: 'm', input_nanousd_per_token: '3', output_nanousd_per_token: '7' })
  const numbers = { context_tokens: 1, running: 0, waiting: 0, blocks_total: 1, blocks_free: 1 }
  await db.ask('settle', { node: { node_id: 'n', url: 'http://n', model: 'm', state: 'ready', ...numbers } })
  await db.sql`update nodes set last_seen_at = 'infinity'`
})
afterAll(() => db?.stop())

test(`of ${AT_ONCE} at once a balance for one admits one, in ${ROUNDS} rounds, and is never below zero`, async () => {
  const lanes = Array.from(
    { length: LANES },
    () => new Lane({ connect: () => connect(db.url, 20_000), patience_ms: 60_000 }),
  )
  const ask = async (i: number, name: FunctionName, item: object) =>
    checked(name, [item], [await lanes[i % LANES]!.ask(name, item)])[0]!
  const payer = await newPayer(db, PRICE * BigInt(ROUNDS) + PRICE - 1n) // each round spends one, and then is left less than one
  await db.sql`update accounts set credited_nanousd = 0 where id = ${payer.account_id}` // credited round by round
  let below_zero = 0
  const watching = setInterval(async () => {
    const rows =
      await db.sql`select 1 from accounts where id = ${payer.account_id} and credited_nanousd < debited_nanousd + pending_nanousd`
    below_zero += rows.length
  }, 20)
  const admitted_counts = new Set<number>()
  for (let round = 0; round < ROUNDS; round += 1) {
    await db.sql`update accounts set credited_nanousd = credited_nanousd + ${String(PRICE)}::bigint where id = ${payer.account_id}`
    const items = Array.from({ length: AT_ONCE }, () => ({
      request_id: randomUUID(),
      key_hash: payer.key_hash,
      model: 'm',
      prompt_tokens_max: 0,
      request_output_tokens_max: 20,
      ttl_ms: 60_000,
    }))
    const answers = await Promise.all(items.map((item, i) => ask(i, 'admit', item)))
    admitted_counts.add(answers.filter(({ decision }) => decision === 'admitted').length)
    const { request_id } = items[answers.findIndex(({ decision }) => decision === 'admitted')] ?? items[0]!
    const counts = { prompt_tokens: 0, cached_tokens: 0, completion_tokens: 20, delivered_tokens: 20, outcome: 'stop' }
    const times = { started_unix_ms: 0, first_token_ms: null, duration_ms: 1 }
    await ask(round, 'settle', {
      request_id,
      account_id: payer.account_id,
      key_id: payer.key_id,
      model: 'm',
      price_version: 1,
      reserved_nanousd: String(PRICE),
      attempt: 1,
      ...counts,
      ...times,
    })
  }
  clearInterval(watching)
  expect([...admitted_counts]).toEqual([1])
  expect(below_zero).toBe(0)
  const [row] = await db.sql`select debited_nanousd, pending_nanousd from accounts where id = ${payer.account_id}`
  expect(row).toEqual({ debited_nanousd: String(PRICE * BigInt(ROUNDS)), pending_nanousd: '0' })
})
