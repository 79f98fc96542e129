// Requests that are asked more than once: what their answers take, how much is kept of them, and what becomes of one whose answer was lost.

import { randomBytes, randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  call,
  ledgerFindings,
  newPayer,
  type Payer,
  startTestPostgres,
  type TestPostgres,
} from '../support/postgres.ts'
import { seededRandom } from '../support/random.ts'

let db: TestPostgres
const random = seededRandom()

beforeAll(async () => {
  db = await startTestPostgres()
  await db.ask('publish_price', { model: 'm', input_nanousd_per_token: '2', output_nanousd_per_token: '5' })
  const numbers = { context_tokens: 9, running: 0, waiting: 0, blocks_total: 3, blocks_free: 3 }
  await db.ask('settle', { node: { node_id: 'n', url: 'http://n', model: 'm', state: 'ready', ...numbers } })
  await db.sql`update nodes set last_seen_at = 'infinity'`
})
afterAll(() => db?.stop())

const hash = () => randomBytes(32).toString('hex')
const wishOf = (endpoint = 'POST /v1/completions') => ({ endpoint, key_hash: hash(), fingerprint: hash() })
const tokens = { model: 'm', prompt_tokens_max: 10, request_output_tokens_max: 20, ttl_ms: 60_000 }
const asking = (payer: Payer, more: object = {}) => ({
  request_id: randomUUID(),
  key_hash: payer.key_hash,
  ...tokens,
  ...more,
})
const one = async (...asked: Parameters<TestPostgres['ask']>) => (await db.ask(...asked))[0]!

/** A generation that has run under this wish, and its result. */
async function kept(payer: Payer, wish = wishOf(), bytes = 30) {
  const request = asking(payer, { idempotency: wish, results_by_id: true })
  expect(await one('admit', request)).toMatchObject({ decision: 'admitted' })
  const claim = { account_id: payer.account_id, request_id: request.request_id, idempotency: wish }
  const body = randomBytes(bytes).toString('base64')
  const result = { ...claim, status: 200, content_type: 'application/json', body }
  return { claim, wish, body, decision: (await one('keep_result', result)).decision, result }
}

const takenBytes = async ({ account_id }: Payer) => {
  const [row] = await db.sql`
    select coalesce((select body_bytes from kept_results where account_id = ${account_id}), 0)::int as counted,
      coalesce((select sum(octet_length(body)) from idempotent_requests where account_id = ${account_id}), 0)::int as there`
  return row as unknown as { counted: number; there: number }
}

describe('a repeated request', () => {
  test('is told of its result by id, which is fetched by itself', async () => {
    const payer = await newPayer(db, 1_000_000n)
    const { claim, wish, body } = await kept(payer)
    const again = await one('admit', asking(payer, { idempotency: wish, results_by_id: true }))
    expect(again).toEqual({ decision: 'kept', account_id: payer.account_id, request_id: claim.request_id })
    expect(await one('read_result', claim)).toMatchObject({ decision: 'kept', status: 200, body })
    expect(await one('read_result', { ...claim, request_id: randomUUID() })).toEqual({ decision: 'gone' })
  })

  test('is answered also where its account owes tokens, of which it takes none', async () => {
    const payer = await newPayer(db, 1_000_000n, { requests_per_minute: 1000, tokens_per_minute: 1000 })
    const { wish } = await kept(payer)
    const { account_id } = payer
    await db.sql`update meters set tokens_level = 1000 * tokens_level where account_id = ${account_id}`
    const wanted = { results_by_id: true }
    expect(await one('admit', asking(payer, { ...wanted, idempotency: wishOf() }))).toMatchObject({
      decision: 'tokens_per_minute',
    })
    expect(await one('admit', asking(payer, { ...wanted, idempotency: wish }))).toMatchObject({ decision: 'kept' })
  })

  test('of a gateway of the release before gets all of it at once', async () => {
    const payer = await newPayer(db, 1_000_000n)
    const { claim, wish, body } = await kept(payer)
    const [again] = await call(db.sql, 'admit', [asking(payer, { idempotency: wish })])
    expect(again).toMatchObject({ decision: 'replay', request_id: claim.request_id, status: 200, body })
    const claiming = {
      key_hash: payer.key_hash,
      idempotency: wish,
      request_id: randomUUID(),
      lease_ms: 1000,
      scope: 'generate',
    }
    expect((await call(db.sql, 'claim_request', [claiming]))[0]).toMatchObject({ decision: 'replay', body })
    expect(await one('claim_request', { ...claiming, results_by_id: true })).toMatchObject({ decision: 'kept' })
  })

  test('takes one of its key’s requests a minute and nothing else, whatever is known of it', async () => {
    const limit = 3 + random.below(5)
    const payer = await newPayer(db, 1_000_000n, {
      requests_per_minute: limit,
      tokens_per_minute: 1000,
      requests_in_flight_max: 5,
    })
    const { wish } = await kept(payer)
    const meter = () =>
      db.sql`select tokens_level, requests_in_flight, held_nanousd from meters where account_id = ${payer.account_id} order by key_id`
    const before = await meter()
    const decisions: string[] = []
    for (let i = 0; i < limit + 2; i += 1) {
      const idempotency = random.chance(0.3) ? { ...wish, fingerprint: hash() } : wish
      decisions.push((await one('admit', asking(payer, { idempotency, results_by_id: true }))).decision)
    }
    expect(decisions.slice(0, limit - 1)).not.toContain('requests_per_minute')
    expect(decisions.slice(limit - 1)).toEqual(['requests_per_minute', 'requests_per_minute', 'requests_per_minute'])
    const after = await meter()
    for (const [i, row] of after.entries()) {
      expect([row.requests_in_flight, row.held_nanousd]).toEqual([
        before[i]!.requests_in_flight,
        before[i]!.held_nanousd,
      ])
      expect(BigInt(row.tokens_level)).toBeLessThanOrEqual(BigInt(before[i]!.tokens_level))
    }
  })
})

describe('what is kept of an account', () => {
  test('has a bound: beyond it nothing more is, and what is there stays', async () => {
    const payer = await newPayer(db, 1_000_000n)
    const account_bytes_max = 5000
    const results = []
    for (let i = 0; i < 12; i += 1) {
      const { claim, result } = await kept(payer, wishOf(), 1)
      const body = randomBytes(200 + random.below(1500)).toString('base64')
      results.push({ claim, decision: (await one('keep_result', { ...result, body, account_bytes_max })).decision })
      const { counted, there } = await takenBytes(payer)
      expect(counted).toBe(there)
      expect(counted).toBeLessThanOrEqual(account_bytes_max + 12)
    }
    expect(new Set(results.map(({ decision }) => decision))).toEqual(new Set(['kept', 'no_room']))
  })

  test('is counted as it is there, through every history of keeping, keeping again, running out and forgetting', async () => {
    const payer = await newPayer(db, 100_000_000n)
    const wishes = Array.from({ length: 5 }, () => wishOf())
    for (let step = 0; step < 60; step += 1) {
      const wish = random.pick(wishes)
      if (random.chance(0.2))
        await db.ask('forget_requests', { count_max: 1 + random.below(3), bytes_max: random.below(1000) })
      else if (random.chance(0.3))
        await db.sql`update idempotent_requests set expires_at = clock_timestamp() where account_id = ${payer.account_id} and key_hash = ${Buffer.from(wish.key_hash, 'hex')}`
      else {
        const request = asking(payer, { idempotency: wish, results_by_id: true })
        const { decision } = await one('admit', request)
        const claim = { account_id: payer.account_id, request_id: request.request_id, idempotency: wish }
        expect(await one('read_result', claim)).toEqual({ decision: 'gone' }) // what another run left is not this one's
        if (decision === 'admitted' && random.chance(0.8))
          await db.ask('keep_result', {
            ...claim,
            status: 200,
            content_type: 'x',
            body: randomBytes(random.below(500)).toString('base64'),
          })
      }
      const { counted, there } = await takenBytes(payer)
      expect(counted).toBe(there)
    }
  })

  test('is forgotten in pieces, of so many rows and bytes, until nothing is due', async () => {
    const payer = await newPayer(db, 1_000_000n)
    for (let i = 0; i < 7; i += 1) await kept(payer, wishOf(), 1000)
    await db.sql`update idempotent_requests set expires_at = clock_timestamp() - interval '1 second' where account_id = ${payer.account_id}`
    const counts: number[] = []
    for (let count = 1; count > 0; counts.push(count))
      count = (await one('forget_requests', { count_max: 5, bytes_max: 2500 })).count
    expect(counts.reduce((sum, count) => sum + count, 0)).toBeGreaterThanOrEqual(7)
    expect(Math.max(...counts)).toBeLessThanOrEqual(5)
    expect(await takenBytes(payer)).toEqual({ counted: 0, there: 0 })
  })
})

describe('an admission whose answer was lost', () => {
  const resolving = ({ request_id, key_hash, model }: ReturnType<typeof asking>, is_wanted: boolean) => ({
    request_id,
    key_hash,
    model,
    is_wanted,
  })
  const pending = async ({ account_id }: Payer) =>
    (await db.sql`select pending_nanousd::int as held from accounts where id = ${account_id}`)[0]!.held

  test('is found where it was made and is wanted', async () => {
    const payer = await newPayer(db, 1_000_000n)
    const request = asking(payer)
    const { limits: _, nodes: __, ...made } = await one('admit', request)
    expect(await one('resolve_admission', resolving(request, true))).toMatchObject(made)
    expect(await pending(payer)).toBe(120)
  })

  test('gives its money and its place back where nobody wants it, once', async () => {
    const payer = await newPayer(db, 1_000_000n, { requests_in_flight_max: 1 })
    const request = asking(payer)
    await db.ask('admit', request)
    for (let i = 0; i < 2; i += 1)
      expect(await one('resolve_admission', resolving(request, false))).toEqual({ decision: 'withdrawn' })
    expect(await pending(payer)).toBe(0)
    expect(await one('admit', asking(payer))).toMatchObject({ decision: 'admitted' })
    expect(await ledgerFindings(db.sql, [payer.account_id])).toEqual([])
  })

  test.each([true, false])('that was not made yet (wanted: %s) cannot be any more', async (is_wanted) => {
    const payer = await newPayer(db, 1_000_000n)
    const request = asking(payer)
    expect(await one('resolve_admission', resolving(request, is_wanted))).toEqual({ decision: 'withdrawn' })
    expect(await one('admit', request)).toEqual({ decision: 'closed' })
    expect(await pending(payer)).toBe(0)
    expect(await ledgerFindings(db.sql, [payer.account_id])).toEqual([])
  })

  test('is nobody else’s to find or to end, nor one that has ended', async () => {
    const [payer, other] = [await newPayer(db, 1_000_000n), await newPayer(db, 1_000_000n)]
    const request = asking(payer)
    const made = await one('admit', request)
    expect(await one('resolve_admission', { ...resolving(request, false), key_hash: other.key_hash })).toEqual({
      decision: 'closed',
    })
    expect(await one('resolve_admission', { ...resolving(request, true), key_hash: hash() })).toEqual({
      decision: 'closed',
    })
    expect(await pending(payer)).toBe(120)
    const counts = { prompt_tokens: 1, cached_tokens: 0, completion_tokens: 1, delivered_tokens: 1, outcome: 'stop' }
    const record = { ...made, ...request, attempt: 1, ...counts, started_unix_ms: 0, first_token_ms: 1, duration_ms: 1 }
    await db.ask('settle', record)
    expect(await one('resolve_admission', resolving(request, false))).toEqual({ decision: 'closed' })
  })

  test('races with what settles it, stops it and asks for it again, and the books agree', async () => {
    const payer = await newPayer(db, 100_000_000n)
    for (let i = 0; i < 20; i += 1) {
      const request = asking(payer)
      await Promise.all(
        [
          () => db.ask('admit', request),
          () => db.ask('resolve_admission', resolving(request, random.chance(0.5))),
          () => db.ask('admit', request),
          () => db.ask('resolve_admission', resolving(request, false)),
        ]
          .sort(() => random.below(3) - 1)
          .map((run) => run()),
      )
    }
    expect(await pending(payer)).toBe(0)
    expect(await ledgerFindings(db.sql, [payer.account_id])).toEqual([])
  })
})
