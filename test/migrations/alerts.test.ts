// Warnings of a low balance: against a model of a few lines, over random debits and credits.

import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { newPayer, type Payer, startTestPostgres, type TestPostgres } from '../support/postgres.ts'
import { seededRandom } from '../support/random.ts'

let db: TestPostgres

beforeAll(async () => {
  db = await startTestPostgres()
  const price = { input_nanousd_per_token: '0', cached_input_nanousd_per_token: '0', output_nanousd_per_token: '1' }
  await db.ask('publish_price', { model: 'm', ...price })
})
afterAll(() => db?.stop())

const numbers = { context_tokens: 1, running: 0, waiting: 0, blocks_total: 1, blocks_free: 1 }
const node = { node_id: 'n', url: 'http://n', model: 'm', state: 'ready', ...numbers }

/** Charges these amounts, all of them reported by one call. */
async function charge(payer: Payer, amounts: number[]): Promise<void> {
  const records: object[] = []
  for (const completion_tokens of amounts) {
    const request_id = randomUUID()
    const limits = { prompt_tokens_max: 0, request_output_tokens_max: completion_tokens, ttl_ms: 60_000 }
    const [, admitted] = [
      await db.ask('settle', { node }),
      (await db.ask('admit', { request_id, key_hash: payer.key_hash, model: 'm', ...limits }))[0]!,
    ]
    const counts = { prompt_tokens: 0, cached_tokens: 0, completion_tokens, delivered_tokens: completion_tokens }
    const rest = { outcome: 'stop', started_unix_ms: 0, first_token_ms: null, duration_ms: 1 }
    if (admitted.decision === 'admitted')
      records.push({ ...payer, ...admitted, request_id, model: 'm', attempt: 1, ...counts, ...rest })
  }
  if (records.length > 0) await db.ask('settle', ...records)
}

async function warnings(account_id: string): Promise<string[]> {
  const rows =
    await db.sql`select body::jsonb -> 'data' as data from outbox where account_id = ${account_id} and type = 'balance.low' order by id`
  return rows.map(({ data }) => `${data.threshold_percent ?? 'amount'} ${data.threshold_nanousd} ${data.left_nanousd}`)
}

async function leftOf(account_id: string): Promise<bigint> {
  const [row] = await db.sql`select ledger.left_nanousd(a)::text as left from accounts a where id = ${account_id}`
  return BigInt(row!.left)
}

test('a threshold warns once when a debit crosses it, and again only after a credit lifted the balance above it', async () => {
  const random = seededRandom()
  const settings = { percents: [50, 20, 5], amounts: [3000n, 40n] }
  let warned = 0
  for (let history = 0; history < 15; history += 1) {
    const overdraft = BigInt(random.below(2) * 1000)
    const payer = await newPayer(db, 10_000n)
    const { account_id } = payer
    await db.sql`update accounts set overdraft_nanousd = ${String(overdraft)}, alert_percents = ${'{50,20,5}'},
      alert_amounts_nanousd = ${'{3000,40}'} where id = ${account_id}`
    let base = 10_000n + overdraft
    const expected: string[][] = []
    for (let step = 0; step < 20; step += 1) {
      const before = await leftOf(account_id)
      const dice = random.below(10)
      const amount = String(1 + random.below(4000))
      const booked = { account_id, amount_nanousd: amount, reference: randomUUID() }
      if (dice < 6)
        await charge(
          payer,
          Array.from({ length: 1 + random.below(3) }, () => 1 + random.below(900)),
        )
      else if (dice < 8)
        await db.ask('adjust', { ...booked, direction: 'debit', note: '', may_overdraw: random.chance(0.5) })
      else if (dice < 9) await db.ask('adjust', { ...booked, direction: 'credit', note: '' })
      else await db.ask('top_up', booked)
      const after = await leftOf(account_id)
      if (dice === 9) base = after
      const thresholds = [
        ...settings.amounts.map((nanousd) => ['amount', nanousd] as const),
        ...(base > 0n ? settings.percents : []).map(
          (percent) => [String(percent), (base * BigInt(percent)) / 100n] as const,
        ),
      ]
      const crossed = thresholds.filter(([, nanousd]) => after <= nanousd && before > nanousd)
      expected.push(crossed.map(([name, nanousd]) => `${name} ${nanousd} ${after}`).sort())
    }
    expect((await warnings(account_id)).sort(), `seed ${random.seed}`).toEqual(expected.flat().sort())
    warned += expected.flat().length
  }
  expect(warned).toBeGreaterThan(30)
})
