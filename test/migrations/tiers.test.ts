// One call may carry requests of both tiers: each is held, charged and shown at the price of its own.

import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { ledgerFindings, newPayer, startTestPostgres, type TestPostgres } from '../support/postgres.ts'
import { publish, useTogether } from '../support/use.ts'

let db: TestPostgres

beforeAll(async () => {
  db = await startTestPostgres()
  await publish(db, 'm', 40, 60)
})
afterAll(() => db?.stop())

const flex = { service_tier: 'flex' }

test('a model without a price for what can wait refuses it alone', async () => {
  const payer = await newPayer(db, 10_000_000n)
  const item = {
    key_hash: payer.key_hash,
    model: 'm',
    prompt_tokens_max: 1,
    request_output_tokens_max: 1,
    ttl_ms: 60_000,
  }
  const answers = await db.ask(
    'admit',
    { ...item, ...flex, request_id: randomUUID() },
    { ...item, model: 'none', request_id: randomUUID() },
  )
  expect(answers.map(({ decision }) => decision)).toEqual(['no_flex_price', 'no_price'])
})

test('both in one call, in any order', async () => {
  await db.ask('publish_price', {
    ...{ model: 'm', ...flex, input_nanousd_per_token: '4', cached_input_nanousd_per_token: '1' },
    output_nanousd_per_token: '6',
  })
  const payer = await newPayer(db, 10_000_000n)
  const ids = await useTogether(db, payer, 'm', [flex, {}, flex, {}])
  const costs: [string, string][] = []
  for (const request_id of ids) {
    const [told] = await db.ask('read_usage', { key_hash: payer.key_hash, request_id })
    const { usage } = told as { usage: { service_tier: string; cost_nanousd: string } }
    costs.push([usage.service_tier, usage.cost_nanousd])
  }
  const [cheap, dear] = [5 * 4 + 5 * 1 + 5 * 6, 5 * 40 + 5 * 10 + 5 * 60].map(String)
  expect(costs).toEqual([
    ['flex', cheap],
    ['default', dear],
    ['flex', cheap],
    ['default', dear],
  ])
  const rows = await db.sql`select count(*)::int as held from reservations where account_id = ${payer.account_id}`
  expect(rows[0]!.held).toBe(4)
  expect(await ledgerFindings(db.sql, [payer.account_id])).toEqual([])
})

test('a price that is published again is known again, among those of its tier', async () => {
  const price = { model: 'again', input_nanousd_per_token: '4', output_nanousd_per_token: '6' }
  const published = async (more: object) =>
    ((await db.ask('publish_price', { ...price, ...more }))[0] as Published).version
  expect(await published({})).toBe(1)
  expect(await published(flex)).toBe(2) // the same rates, of another tier
  expect(await published({})).toBe(1)
  expect(await published({ ...flex, output_nanousd_per_token: '5' })).toBe(3)
  expect(await published({ only_first: true, output_nanousd_per_token: '9' })).toBe(1)
})

interface Published {
  version: number
}
