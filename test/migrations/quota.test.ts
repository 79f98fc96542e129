// What a refused request is told of money: that much would do, and one token more would not.

import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { newKey, newPayer, startTestPostgres, type TestPostgres } from '../support/postgres.ts'
import { seededRandom } from '../support/random.ts'

const CASES = Number(process.env.QUOTA_CASES ?? 30)
const random = seededRandom()

let db: TestPostgres

beforeAll(async () => {
  db = await startTestPostgres()
  for (const [index, output] of [0, 1, 3, 7, 50].entries())
    await db.ask('publish_price', {
      model: `m${index}`,
      input_nanousd_per_token: String(index),
      output_nanousd_per_token: String(output),
    })
  const numbers = { context_tokens: 9, running: 1, waiting: 2, blocks_total: 3, blocks_free: 3 }
  for (const model of ['m0', 'm1', 'm2', 'm3', 'm4'])
    await db.ask('settle', { node: { node_id: model, url: 'http://n', model, state: 'ready', ...numbers } })
  await db.sql`update nodes set last_seen_at = 'infinity'`
})
afterAll(() => db?.stop())

const amount = () => BigInt(random.below(random.pick([2, 100, 5000])))
const cap = () => (random.chance(0.5) ? null : String(amount()))

/** An account and a key of it, with caps, an overdraft, and money that is held and spent, all of it drawn. */
async function drawnPayer() {
  const payer = await newPayer(db, amount() + 1n)
  const [overdraft, account_cap, key_cap] = [random.chance(0.5) ? '0' : String(amount()), cap(), cap()]
  const fields = { overdraft_nanousd: overdraft, monthly_spend_cap_nanousd: account_cap }
  await db.ask('update_account', { operator: true, account_id: payer.account_id, fields })
  const { key_hash, key_id } = await newKey(db, payer.account_id, { monthly_spend_cap_nanousd: key_cap })
  for (let i = random.below(3); i > 0; i--)
    await db.ask('admit', wish(key_hash, { prompt_tokens_max: random.below(50), request_output_tokens_max: 0 }))
  return { ...payer, key_hash, key_id, overdraft: BigInt(overdraft), account_cap, key_cap }
}

function wish(key_hash: string, own: object) {
  const tokens = { prompt_tokens_max: 0, request_output_tokens_max: 1 }
  return { request_id: randomUUID(), key_hash, model: 'm1', ttl_ms: 60_000, ...tokens, ...own }
}

test(`of ${CASES} drawn requests each is told what is left, and the most tokens that would be admitted`, async () => {
  const bounds = new Set<string>()
  for (let i = 0; i < CASES; i++) {
    const payer = await drawnPayer()
    const choices = 1 + random.below(4)
    const model = `m${random.below(5)}`
    const prompt_tokens_max = random.below(random.pick([3, 400]))
    const ask = async (max_tokens: number) => {
      const request_output_tokens_max = max_tokens * choices
      const item = wish(payer.key_hash, { model, prompt_tokens_max, request_output_tokens_max, choices })
      return (await db.ask('admit', item))[0]!
    }
    const asked = 1 + random.below(3000)
    const refused = await ask(asked)
    if (refused.decision === 'admitted') continue
    const { quota } = refused
    bounds.add(`${quota.bound} ${quota.max_tokens === null ? 'nothing fits' : 'some fits'}`)
    expect([quota.bound, quota.left_nanousd]).toEqual([quota.bound, String(await leftOf(payer, quota.bound))])
    expect(quota.max_tokens ?? 0).toBeLessThan(asked)
    expect((await ask((quota.max_tokens ?? 0) + 1)).decision).not.toBe('admitted')
    if (quota.max_tokens !== null) expect((await ask(quota.max_tokens)).decision).toBe('admitted')
  }
  expect([...bounds].map((found) => found.split(' ')[0])).toEqual(expect.arrayContaining(['balance', 'key_cap']))
})

/** What the rows say, added up here. */
async function leftOf(payer: Awaited<ReturnType<typeof drawnPayer>>, bound: string): Promise<bigint> {
  const [account] = await db.sql`select * from accounts where id = ${payer.account_id}`
  const heldBy = async (key_id: string) =>
    BigInt(
      (await db.sql`select held_nanousd from meters where account_id = ${payer.account_id} and key_id = ${key_id}`)[0]!
        .held_nanousd,
    )
  const room = {
    key_cap: async () => BigInt(payer.key_cap!) - (await heldBy(payer.key_id)),
    account_cap: async () => BigInt(payer.account_cap!) - (await heldBy('0')),
    balance: async () =>
      BigInt(account!.credited_nanousd) +
      payer.overdraft -
      BigInt(account!.debited_nanousd) -
      BigInt(account!.pending_nanousd),
  }[bound]!
  const left = await room()
  return left < 0n ? 0n : left
}

test('a gateway that names no choices is refused as before', async () => {
  const { key_hash } = await newPayer(db, 10n)
  const [refused] = await db.ask('admit', wish(key_hash, { request_output_tokens_max: 11 }))
  expect(refused).toMatchObject({
    decision: 'insufficient_quota',
    limits: {},
    quota: { bound: 'balance', max_tokens: 10 },
  })
})

test('what is charged this month counts against a cap, and what was charged in another does not', async () => {
  const { account_id } = await newPayer(db, 1000n)
  const { key_hash, key_id } = await newKey(db, account_id, { monthly_spend_cap_nanousd: '50' })
  const askFor = async (tokens: number) =>
    (await db.ask('admit', wish(key_hash, { request_output_tokens_max: tokens })))[0]!
  await db.sql`update meters set charged_nanousd = 30, month = ledger.this_month() where key_id = ${key_id}`
  expect((await askFor(21)).quota).toMatchObject({ bound: 'key_cap', left_nanousd: '20', max_tokens: 20 })
  await db.sql`update meters set month = month - interval '1 month' where key_id = ${key_id}`
  expect((await askFor(51)).quota).toMatchObject({ bound: 'key_cap', left_nanousd: '50', max_tokens: 50 })
})
