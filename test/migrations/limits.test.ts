// The limiter in SQL against exact rational arithmetic, and what it counts against what is true after random histories.
// ARRIVALS=n says how many, SEED=n repeats a run.

import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { draws } from '../support/draws.ts'
import { newKey, newPayer, type Payer, startTestPostgres, type TestPostgres } from '../support/postgres.ts'
import { type Random, seededRandom } from '../support/random.ts'

const ARRIVALS = draws('ARRIVALS', { few: 200_000, all: 1_000_000 })
const OF_ONE_BUCKET = 5000
const UNIT = 60_000_000n

let db: TestPostgres

beforeAll(async () => {
  db = await startTestPostgres()
  await db.ask('publish_price', { model: 'm', input_nanousd_per_token: '1', output_nanousd_per_token: '1' })
  const numbers = { context_tokens: 1, running: 0, waiting: 0, blocks_total: 1, blocks_free: 1 }
  await db.ask('settle', { node: { node_id: 'n', url: 'http://n', model: 'm', state: 'ready', ...numbers } })
  await db.sql`update nodes set last_seen_at = 'infinity'`
  // Arrivals (correction null) and corrections of one bucket, at times that are given.
  await db.sql.unsafe(`
    create function run_bucket(per_minute bigint, moments bigint[], costs bigint[], corrections bigint[])
    returns table (admitted boolean[], retries bigint[], remains bigint[], resets bigint[]) language plpgsql
    set search_path = public, ledger as $$
    declare
      level bigint := 0;
      at bigint := moments[1];
      d record;
    begin
      for i in 1 .. array_length(moments, 1) loop
        if corrections[i] is not null then
          level := corrected(level, per_minute, corrections[i], moments[i] - at);
          d := row(null::boolean, null::bigint, null::bigint, null::bigint);
          admitted := admitted || null::boolean; retries := retries || null::bigint;
          remains := remains || null::bigint; resets := resets || null::bigint;
        else
          d := gcra(level, per_minute, costs[i], moments[i] - at);
          level := d.level;
          at := moments[i];
          admitted := admitted || d.is_admitted; retries := retries || d.retry_us;
          remains := remains || d.remaining; resets := resets || d.reset_us;
        end if;
      end loop;
      return next;
    end $$`)
})
afterAll(() => db?.stop())

interface Arrival {
  moment: bigint
  cost: bigint
  correction: bigint | null
}

/** GCRA by its theoretical arrival time, as a fraction over the limit: exact, and another form than the one that is tested. */
class Reference {
  readonly #per_minute: bigint
  #arrival = 0n // theoretical; in 1/per_minute of a microsecond

  constructor(per_minute: bigint) {
    this.#per_minute = per_minute
  }

  admits(moment: bigint, cost: bigint): boolean {
    const now = moment * this.#per_minute
    return this.#base(moment) + cost * UNIT - now <= this.#per_minute * UNIT
  }

  take(moment: bigint, cost: bigint): void {
    this.#arrival = this.#base(moment) + cost * UNIT
  }

  correct(moment: bigint, tokens: bigint): void {
    const now = moment * this.#per_minute
    const owed = this.#base(moment) - now + tokens * UNIT
    this.#arrival = now + (owed > 0n ? owed : 0n)
  }

  /** Microseconds until that much is admitted; 0 where it is or never will be. */
  wait(moment: bigint, cost: bigint): bigint {
    if (this.admits(moment, cost) || cost > this.#per_minute) return 0n
    const above = this.#base(moment) - moment * this.#per_minute + (cost - this.#per_minute) * UNIT
    return (above + this.#per_minute - 1n) / this.#per_minute
  }

  remaining(moment: bigint): bigint {
    const left = this.#per_minute * UNIT - (this.#base(moment) - moment * this.#per_minute)
    return left > 0n ? left / UNIT : 0n
  }

  #base(moment: bigint): bigint {
    const idle = this.#arrival - moment * this.#per_minute
    return idle > 0n ? this.#arrival : moment * this.#per_minute
  }
}

/** Many of them at the very microsecond from which they are admitted, or one before. */
function arrivals(random: Random, per_minute: number): Arrival[] {
  const mean_us = 60_000_000 / per_minute
  const cost_max = random.pick([1, 1, 3, Math.ceil(per_minute / 50), Math.ceil(per_minute / 3), per_minute + 1])
  const reference = new Reference(BigInt(per_minute))
  let moment = 1_700_000_000_000_000n + BigInt(random.below(1e9))
  let last_cost = 1
  const gap = () => {
    if (random.chance(0.3)) return 0
    return random.chance(0.02) ? 120_000_000 : Math.ceil(mean_us * cost_max * (random.below(2000) / 1000))
  }
  return Array.from({ length: OF_ONE_BUCKET }, () => {
    moment += BigInt(random.below(gap() + 1))
    if (random.chance(0.15)) {
      const correction = BigInt(random.chance(0.7) ? -random.below(last_cost + 2) : random.below(last_cost + 2))
      reference.correct(moment, correction)
      return { moment, cost: 0n, correction }
    }
    last_cost = 1 + random.below(cost_max)
    const cost = BigInt(last_cost)
    const wait = reference.wait(moment, cost)
    if (wait > 0n && random.chance(0.5)) moment += random.chance(0.5) ? wait : wait - 1n
    if (reference.admits(moment, cost)) reference.take(moment, cost)
    return { moment, cost, correction: null }
  })
}

test(`of ${ARRIVALS} random arrivals none is wrongly admitted or refused`, async () => {
  const random = seededRandom()
  const wrong = { admitted: 0, refused: 0, retry: 0, remaining: 0 }
  let seen = 0
  let admitted_count = 0
  while (seen < ARRIVALS) {
    const per_minute = Math.ceil(10 ** (random.below(10_000) / 1000)) // 1 to 10^10
    const events = arrivals(random, Math.min(per_minute, 1e9))
    const list = (pick: (event: Arrival) => bigint | null) => `{${events.map((event) => pick(event) ?? 'null')}}`
    const [row] = await db.sql`
      select to_json(r) as r from run_bucket(${per_minute}::bigint, ${list(({ moment }) => moment)}::bigint[],
        ${list(({ cost }) => cost)}::bigint[], ${list(({ correction }) => correction)}::bigint[]) as r`
    const { admitted, retries, remains } = (typeof row!.r === 'string' ? JSON.parse(row!.r) : row!.r) as {
      admitted: (boolean | null)[]
      retries: (number | null)[]
      remains: (number | null)[]
    }
    const reference = new Reference(BigInt(per_minute))
    for (const [i, { moment, cost, correction }] of events.entries()) {
      if (correction !== null) {
        reference.correct(moment, correction)
        continue
      }
      seen += 1
      const right = reference.admits(moment, cost)
      if (admitted[i] && !right) wrong.admitted += 1
      if (!admitted[i] && right) wrong.refused += 1
      if (right) {
        admitted_count += 1
        reference.take(moment, cost)
      } else if (!rightRetry(reference, { moment, cost, retry_us: retries[i]!, per_minute })) wrong.retry += 1
      if (BigInt(remains[i]!) !== reference.remaining(moment)) wrong.remaining += 1
    }
  }
  console.log(`${seen} arrivals, ${admitted_count} admitted`)
  expect(wrong).toEqual({ admitted: 0, refused: 0, retry: 0, remaining: 0 })
  // One bucket may admit nearly all or nearly none, as its limit and its costs were drawn; twenty show both.
  if (seen < 20 * OF_ONE_BUCKET) return
  expect(admitted_count).toBeGreaterThan(seen / 10)
  expect(admitted_count).toBeLessThan(seen * 0.95)
})

/** To the microsecond: at that moment it is admitted, and not one before. */
function rightRetry(
  reference: Reference,
  { moment, cost, retry_us, per_minute }: { moment: bigint; cost: bigint; retry_us: number | null; per_minute: number },
): boolean {
  if (cost > BigInt(per_minute)) return retry_us === null
  if (retry_us === null) return false
  const again = moment + BigInt(retry_us)
  return reference.admits(again, cost) && !reference.admits(again - 1n, cost)
}

function wish(payer: Payer, own: object = {}) {
  const tokens = { prompt_tokens_max: 10, request_output_tokens_max: 20 }
  return { request_id: randomUUID(), key_hash: payer.key_hash, model: 'm', ...tokens, ttl_ms: 60_000, ...own }
}

const counts = {
  cached_tokens: 0,
  delivered_tokens: 0,
  outcome: 'stop',
  started_unix_ms: 0,
  first_token_ms: null,
  duration_ms: 1,
}

async function admit(payer: Payer, ...own: object[]) {
  const items = own.map((each) => wish(payer, each))
  const answers = await db.ask('admit', ...items)
  const { account_id, key_id } = payer
  const own_ids = { account_id, key_id }
  return answers.map((answer, i) => ({ ...items[i]!, ...own_ids, ...answer, attempt: 1 }))
}

const decisionsOf = (answers: { decision: string }[]) => answers.map(({ decision }) => decision)
const times = <T>(count: number, value: T) => Array<T>(count).fill(value)

describe('admit', () => {
  test('lets in as many a minute as the key may, and says when the next', async () => {
    const payer = await newPayer(db, 10_000n, { requests_per_minute: 3 })
    const answers = await admit(payer, {}, {}, {}, {})
    expect(decisionsOf(answers)).toEqual([...times(3, 'admitted'), 'requests_per_minute'])
    expect(answers[3]!.limits.retry_us).toBeGreaterThan(19_000_000)
    expect(answers[3]!.limits.retry_us).toBeLessThanOrEqual(20_000_000)
    expect(answers.map(({ limits }) => limits)).toMatchObject(
      [2, 1, 0, 0].map((remaining) => ({ requests: { limit: 3, remaining } })),
    )
    await db.sql`update meters set levels_at_us = levels_at_us - 20000000 where account_id = ${payer.account_id}`
    expect(decisionsOf(await admit(payer, {}, {}))).toEqual(['admitted', 'requests_per_minute'])
  })

  test('counts all keys of an account against its own limit, and that of the deployment where it has none', async () => {
    const payer = await newPayer(db, 10_000n)
    const other = { ...payer, ...(await newKey(db, payer.account_id)) }
    const limits = { requests_per_minute: 3, tokens_per_minute: 1000, requests_in_flight_max: 100 }
    const first = await admit(payer, { limits }, { limits })
    expect(decisionsOf([...first, ...(await admit(other, { limits }, { limits }))])).toEqual([
      ...times(3, 'admitted'),
      'requests_per_minute',
    ])
    await db.sql`update accounts set requests_per_minute = 5 where id = ${payer.account_id}`
    expect(decisionsOf(await admit(other, { limits }, { limits }, { limits }))).toEqual([
      ...times(2, 'admitted'),
      'requests_per_minute',
    ])
  })

  test('counts tokens by the ceiling, and settle gives back what was not used', async () => {
    const payer = await newPayer(db, 10_000n, { tokens_per_minute: 60 })
    const [first, second, third] = await admit(payer, {}, {}, {})
    expect(decisionsOf([first!, second!, third!])).toEqual(['admitted', 'admitted', 'tokens_per_minute'])
    await db.ask('settle', { ...first, ...counts, prompt_tokens: 4, completion_tokens: 1 })
    expect(decisionsOf(await admit(payer, { request_output_tokens_max: 15 }))).toEqual(['admitted'])
    await db.ask('void', second!)
    expect(decisionsOf(await admit(payer, {}, {}))).toEqual(['admitted', 'tokens_per_minute'])
  })

  test('says of a request above the whole limit that it never fits', async () => {
    const payer = await newPayer(db, 10_000n, { tokens_per_minute: 29 })
    const [answer] = await admit(payer, {})
    expect(answer).toMatchObject({ decision: 'request_too_large' })
    expect(answer!.limits.retry_us ?? null).toBeNull()
  })

  test('counts what is in flight, of the key and of the account; every end gives the place back', async () => {
    const payer = await newPayer(db, 10_000n, { requests_in_flight_max: 2 })
    const [a, b, c] = await admit(payer, {}, { ttl_ms: -1 }, {})
    expect(decisionsOf([a!, b!, c!])).toEqual(['admitted', 'admitted', 'requests_in_flight'])
    await db.ask('settle', { ...a, ...counts, prompt_tokens: 1, completion_tokens: 1 })
    expect(decisionsOf(await admit(payer, {}, {}))).toEqual(['admitted', 'requests_in_flight'])
    await db.ask('expire', { count_max: 10_000 })
    const [d] = await admit(payer, {})
    expect(d!.decision).toBe('admitted')
    await db.ask('void', d!, d!)
    expect(decisionsOf(await admit(payer, {}, {}))).toEqual(['admitted', 'requests_in_flight'])
  })

  test('holds a key to its month: charged and held together never pass the cap', async () => {
    const payer = await newPayer(db, 10_000n, { monthly_spend_cap_nanousd: '65' })
    const [a, b, c] = await admit(payer, {}, {}, {})
    expect(decisionsOf([a!, b!, c!])).toEqual(['admitted', 'admitted', 'spend_cap_reached'])
    await db.ask('settle', { ...a, ...counts, prompt_tokens: 5, completion_tokens: 5 })
    expect(
      decisionsOf(await admit(payer, { request_output_tokens_max: 15 }, { request_output_tokens_max: 1 })),
    ).toEqual(['admitted', 'spend_cap_reached'])
    await db.sql`update meters set month = month - interval '1 month', charged_nanousd = 65 where account_id = ${payer.account_id}`
    expect(decisionsOf(await admit(payer, { request_output_tokens_max: 0 }))).toEqual(['admitted'])
  })

  test('holds all keys of an account together to what the account may, and shows it where it is tighter', async () => {
    const payer = await newPayer(db, 10_000n, { requests_per_minute: 1000 })
    const limit = (own: object) =>
      db.sql`update accounts set ${db.sql({ requests_per_minute: null, tokens_per_minute: 75, ...own })} where id = ${payer.account_id}`
    await limit({ requests_per_minute: 2, tokens_per_minute: 75 })
    const [first, second, third] = await admit(payer, {}, {}, {})
    expect(decisionsOf([first!, second!, third!])).toEqual(['admitted', 'admitted', 'requests_per_minute'])
    expect(first!.limits).toMatchObject({ requests: { limit: 2, remaining: 1 } })
    await limit({})
    expect(decisionsOf(await admit(payer, {}))).toEqual(['tokens_per_minute'])
    await limit({ tokens_per_minute: null, requests_in_flight_max: 2 })
    expect(decisionsOf(await admit(payer, {}))).toEqual(['requests_in_flight'])
    await limit({ tokens_per_minute: null, requests_in_flight_max: null, monthly_spend_cap_nanousd: 89 })
    expect(decisionsOf(await admit(payer, {}))).toEqual(['spend_cap_reached'])
    await limit({ tokens_per_minute: null, monthly_spend_cap_nanousd: 90 })
    expect(decisionsOf(await admit(payer, {}))).toEqual(['admitted'])
  })

  test('of several full buckets, says when the last of them has room', async () => {
    const payer = await newPayer(db, 10_000n, { requests_per_minute: 1, tokens_per_minute: 6000 })
    await admit(payer, {})
    await db.sql`update meters set tokens_level = 6000 * ledger.level_unit() where key_id = ${payer.key_id}`
    const [refused] = await admit(payer, {})
    expect(refused!.limits.retry_us).toBeGreaterThan(30_000_000) // 0.3 s for the tokens
  })

  test('takes nothing for what it refuses', async () => {
    const payer = await newPayer(db, 0n, { requests_per_minute: 1 })
    expect(decisionsOf(await admit(payer, {}, {}))).toEqual(times(2, 'insufficient_quota'))
    const [meters] =
      await db.sql`select sum(requests_level + tokens_level + requests_in_flight + held_nanousd) as all from meters where account_id = ${payer.account_id}`
    expect(meters!.all).toBe('0')
  })

  test('a rotated key and its successor share one bucket', async () => {
    const payer = await newPayer(db, 10_000n, { requests_per_minute: 2 })
    const hash = `${randomUUID()}${randomUUID()}`.replaceAll('-', '')
    const item = { operator: true, key_id: payer.key_id, overlap_s: 600, hash, prefix: 'p', last_four: 'l' }
    expect(decisionsOf(await db.ask('rotate_key', item))).toEqual(['created'])
    const both = [wish(payer), wish({ ...payer, key_hash: hash }), wish(payer)]
    expect(decisionsOf(await db.ask('admit', ...both))).toEqual(['admitted', 'admitted', 'requests_per_minute'])
  })
})

test('after random histories what is in flight and held is what is open, and nothing leaked', async () => {
  const random = seededRandom()
  for (let history = 0; history < 30; history += 1) {
    const payer = await newPayer(db, 1_000_000n, { requests_in_flight_max: 1 + random.below(8) })
    const other = { ...payer, ...(await newKey(db, payer.account_id)) }
    const max = Number(
      (await db.sql`select requests_in_flight_max from keys where id = ${payer.key_id}`)[0]!.requests_in_flight_max,
    )
    const run = async () => {
      const [ticket] = await admit(random.chance(0.5) ? payer : other, { ttl_ms: random.chance(0.2) ? 1 : 60_000 })
      if (ticket!.decision !== 'admitted') return
      const used = { ...ticket, ...counts, prompt_tokens: random.below(10), completion_tokens: random.below(20) }
      const repeats = 1 + random.below(2)
      for (let i = 0; i < repeats; i += 1) {
        if (random.chance(0.6)) await db.ask('settle', used)
        else if (random.chance(0.5)) await db.ask('void', ticket!)
        else await db.ask('expire', { count_max: 100 })
      }
    }
    const watch = async () => {
      const [row] = await db.sql`select requests_in_flight from meters where key_id = ${payer.key_id}`
      expect(Number(row!.requests_in_flight)).toBeLessThanOrEqual(max)
    }
    await Promise.all(Array.from({ length: 40 }, () => Promise.all([run(), watch()])))
    const findings = await db.sql`
      select m.key_id from meters m left join reservations r
        on r.account_id = m.account_id and (m.key_id = 0 or r.key_id = m.key_id) and r.state = 'pending'
      where m.account_id = ${payer.account_id} group by m.account_id, m.key_id
      having max(m.requests_in_flight) <> count(r.request_id) or max(m.held_nanousd) <> coalesce(sum(r.amount_nanousd), 0)`
    const [charged] = await db.sql`
      select (select charged_nanousd from meters where account_id = ${payer.account_id} and key_id = 0)
        - (select coalesce(sum(cost_nanousd), 0) from usage where account_id = ${payer.account_id})
        + (select coalesce(sum(amount_nanousd), 0) from entries where account_id = ${payer.account_id} and kind = 'refund') as difference`
    expect([findings, charged!.difference], `history ${history} of seed ${random.seed}`).toEqual([[], '0'])
  }
})
