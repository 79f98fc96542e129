// Jobs in the ledger's database: who may make one, who is given one, that nothing is paid twice or for nothing whoever dies, and what of
// them is kept.

import { randomBytes, randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Answer } from '../../gateway/db/functions.ts'
import { draws } from '../support/draws.ts'
import { ledgerFindings, newPayer, type Payer, startTestPostgres, type TestPostgres } from '../support/postgres.ts'
import { seededRandom } from '../support/random.ts'

let db: TestPostgres
const random = seededRandom()
const CREDIT = 1_000_000n
const LIMITS = { requests_per_minute: 1e6, tokens_per_minute: 1e9, requests_in_flight_max: 1e6 }
const HISTORIES = draws('JOB_HISTORIES', { few: 3, all: 100 })

beforeAll(async () => {
  db = await startTestPostgres()
  await db.ask('publish_price', { model: 'm', input_nanousd_per_token: '2', output_nanousd_per_token: '5' })
  for (const node_id of ['a', 'b']) {
    const node = { id: node_id, url: `http://127.0.0.1/${node_id}`, model: 'm', key: `key of ${node_id}` }
    await db.ask('create_node', { ...node, replace: true })
  }
  await hear('a')
  await hear('b')
})
afterAll(() => db?.stop())
beforeEach(() => db.sql`truncate jobs, job_chunks`)

const one = async <N extends Parameters<TestPostgres['ask']>[0]>(name: N, item: object) =>
  (await db.ask(name, item))[0]! as Answer<N>
const sealed = (bytes = 8) => randomBytes(bytes).toString('base64')

const boots = new Map<string, { id: string; number: number; sequence: number }>()

/** A node's report; `anew` by another process of it. */
async function hear(
  node_id: string,
  { job_slots = 0, running_ids = [] as string[], anew = false, verifies = [] as string[] } = {},
) {
  const before = boots.get(node_id)
  const boot = before && !anew ? before : { id: randomUUID(), number: (before?.number ?? 0) + 1, sequence: 0 }
  boots.set(node_id, boot)
  boot.sequence += 1
  const load = { state: 'ready', context_tokens: 100, running: 0, waiting: 0, blocks_total: 1, blocks_free: 1 }
  return one('hear_node', {
    ...{ report_id: randomUUID(), node_id, key: `key of ${node_id}`, url: `http://127.0.0.1/${node_id}`, model: 'm' },
    ...{ ...load, boot_id: boot.id, folder_id: FOLDERS[node_id], boot_number: boot.number, sequence: boot.sequence },
    ...{ sent_unix_ms: Date.now(), running_ids, job_slots, verifies },
  })
}
const FOLDERS: Record<string, string> = { a: randomUUID(), b: randomUUID() }

const ADMISSION = { prompt_tokens_max: 10, request_output_tokens_max: 20, choices: 1 }

function wanted({ key_hash }: Payer, changes: object = {}) {
  const parts = { request: sealed(), input: sealed(), head: sealed() }
  const kind = { kind: 'response', model: 'm', admission: ADMISSION, window_s: 3600, account_bytes_max: 1000 }
  return { key_hash, job_id: randomUUID(), ...kind, ...parts, ...changes }
}

/** What a job is made with that is a line's of a batch. */
async function newLine() {
  const [row] = await db.sql`
    with made as (
      insert into batches (account_id, key_id, created_by, endpoint, input_file_id, output_expires_after_s, state, expires_at, due_at)
      select id, 1, gen_random_uuid(), '', 1, 1, 'in_progress', 'infinity', 'infinity' from accounts limit 1 returning id)
    insert into batch_lines (batch_id, number, begins_at, bytes, custom_id_hash) select id, 1, 0, 1, '' from made
    returning batch_id as owner, job_id`
  return { kind: 'batch', ...(row as unknown as { owner: string; job_id: string }) }
}

async function make(payer: Payer, changes: object = {}) {
  const item = wanted(payer, changes)
  return { job_id: item.job_id, decision: (await one('create_job', item)).decision }
}

type Taken = Extract<Answer<'take_job'>, { decision: 'taken' }>

const take = async (node_id = 'a', take_id = randomUUID(), key = `key of ${node_id}`) =>
  one('take_job', { node_id, key, take_id, sent_unix_ms: Date.now() })

const admit = ({ request_id, key_hash, address, model, admission }: Taken) =>
  one('admit', {
    request_id,
    key_hash,
    address,
    model,
    ...admission,
    ttl_ms: 60_000,
    registered_nodes: true,
    limits: LIMITS,
  })

const attemptOf = (node_id: string, { job_id, request_id }: Taken) => {
  return { node_id, key: `key of ${node_id}`, job_id, request_id }
}

const chunk = (number: number) => {
  return { number, event_count: number + 1, text: sealed(), length: 10 * (number + 1), sha256: 'a'.repeat(64) }
}

const end = (node_id: string, taken: Taken, changes: object = {}) =>
  one('end_job', {
    ...attemptOf(node_id, taken),
    ...{ state: 'completed', status_code: 200, result: sealed(), account_bytes_max: 1000, delivered_tokens: 0 },
    usage: { prompt_tokens: 10, cached_tokens: 0, completion_tokens: 20 },
    ...changes,
  })

const giveBack = (node_id: string, taken: Taken, changes: object = {}) =>
  one('return_job', {
    ...attemptOf(node_id, taken),
    delay_ms: 0,
    counts: true,
    error: null,
    status_code: null,
    ...changes,
  })

const lose = (job_id: string) =>
  db.sql`update jobs set leased_until = clock_timestamp() - interval '1 ms' where id = ${job_id} and state = 'running'`

const rowOf = async (job_id: string) => (await db.sql`select * from jobs where id = ${job_id}`)[0]!

async function settle(
  payer: Payer,
  { request_id }: { request_id: string },
  outcome: string,
  completion_tokens: number,
  delivered_tokens: number,
) {
  const { account_id, key_id } = payer
  const ticket = { request_id, account_id, key_id, model: 'm', attempt: 1, price_version: 1, reserved_nanousd: '120' }
  const counts = { prompt_tokens: 10, cached_tokens: 0, completion_tokens, delivered_tokens, outcome }
  const times = { started_unix_ms: 0, first_token_ms: null, duration_ms: 1, issued_unix_ms: Date.now(), node_id: 'a' }
  return (await one('settle', { ...ticket, ...counts, ...times })).decision
}

async function taken(node_id = 'a'): Promise<Taken> {
  const answer = await take(node_id)
  if (answer.decision !== 'taken') throw new Error(answer.decision)
  return answer
}

async function spent({ account_id }: Payer): Promise<number> {
  const [row] = await db.sql`
    select (coalesce(sum(amount_nanousd) filter (where kind in ('usage', 'late_usage')), 0)
      - coalesce(sum(amount_nanousd) filter (where kind = 'refund'), 0))::int as nanousd
    from entries where account_id = ${account_id}`
  return row!.nanousd
}

describe('a job', () => {
  test('is made once, by a key that may, for a model with a price and an account with money', async () => {
    const payer = await newPayer(db, CREDIT)
    const item = wanted(payer)
    expect(await db.ask('create_job', item, item)).toEqual([{ decision: 'created' }, { decision: 'created' }])
    const stranger = await newPayer(db, 119n)
    expect(await one('create_job', { ...item, key_hash: stranger.key_hash })).toEqual({ decision: 'closed' })
    expect((await make(stranger)).decision).toBe('insufficient_quota')
    expect((await make(payer, { model: 'other' })).decision).toBe('no_price')
    expect((await make(payer, { admission: { ...ADMISSION, service_tier: 'flex' } })).decision).toBe('no_flex_price')
    expect((await make(await newPayer(db, CREDIT, { models: ['x'] }))).decision).toBe('model_not_allowed')
    expect((await make(await newPayer(db, CREDIT, { scopes: ['usage'] }))).decision).toBe('missing_scope')
    expect((await make(payer, { request: sealed(1200) })).decision).toBe('too_many_jobs')
    expect(await db.sql`select count(*)::int from jobs`).toMatchObject([{ count: 1 }])
  })

  test('waits in a bounded number of its account’s own', async () => {
    await db.sql`create or replace function ledger.open_jobs_max() returns int language sql immutable as $$ select 2 $$`
    const payer = await newPayer(db, CREDIT)
    const made = [await make(payer), await make(payer), await make(payer), await make(payer, await newLine())]
    expect(made.map(({ decision }) => decision)).toEqual(['created', 'created', 'too_many_jobs', 'created'])
    await db.sql`create or replace function ledger.open_jobs_max() returns int language sql immutable as $$ select 1000 $$`
  })

  test('is given to a node of its model that is who it says, once, and again for the same take', async () => {
    const { job_id } = await make(await newPayer(db, CREDIT))
    expect(await take('a', randomUUID(), 'key of b')).toEqual({ decision: 'unknown_node_key' })
    const take_id = randomUUID()
    const first = await take('a', take_id)
    expect(first).toMatchObject({ decision: 'taken', job_id, request_id: job_id })
    expect(await take('a', take_id)).toEqual(first)
    expect(await take('b')).toEqual({ decision: 'none' })
    const late = { node_id: 'a', key: 'key of a', take_id: randomUUID(), sent_unix_ms: Date.now() - 60_000 }
    expect(await one('take_job', late)).toEqual({ decision: 'stale_report' })
  })

  test('is told of only where there is room, and keeps its lease by its node’s reports', async () => {
    const payer = await newPayer(db, CREDIT)
    for (let i = 0; i < 3; i += 1) await make(payer)
    expect(await hear('a')).not.toHaveProperty('jobs')
    expect(await hear('a', { job_slots: 2 })).toMatchObject({ jobs: 2 })
    expect(await hear('a', { job_slots: 9 })).toMatchObject({ jobs: 3 })
    const job = await taken()
    await db.sql`update jobs set leased_until = clock_timestamp() + interval '1 s' where id = ${job.job_id}`
    await hear('b', { running_ids: [job.request_id] })
    await hear('a', { running_ids: [randomUUID()] })
    expect((await rowOf(job.job_id)).leased_until.getTime()).toBeLessThan(Date.now() + 5000)
    await hear('a', { running_ids: [job.request_id] })
    expect((await rowOf(job.job_id)).leased_until.getTime()).toBeGreaterThan(Date.now() + 5000)
    await hear('a', { anew: true })
    expect(await hear('b', { job_slots: 9 })).toMatchObject({ jobs: 3 })
  })

  test('goes to the account that has the fewest running, and of each the first that waits', async () => {
    const [many, few] = [await newPayer(db, CREDIT), await newPayer(db, CREDIT)]
    for (let i = 0; i < 5; i += 1) await make(many)
    for (let i = 0; i < 2; i += 1) await make(few)
    const order = []
    for (let i = 0; i < 7; i += 1) order.push((await taken(random.pick(['a', 'b']))).account_id === many.account_id)
    expect(order).toEqual([true, false, true, false, true, true, true])
  })

  test('whose answer is to be verified is given to a node that does so in its language, and told of to no other', async () => {
    const payer = await newPayer(db, CREDIT)
    const { job_id } = await make(payer, { admission: { ...ADMISSION, verify: 'python' } })
    const told = (await hear('a', { job_slots: 3 })) as { jobs?: number }
    expect([told.jobs, (await take('a')).decision]).toEqual([undefined, 'none'])
    await hear('b', { verifies: ['python'] })
    expect(await hear('b', { job_slots: 3, verifies: ['python'] })).toMatchObject({ jobs: 1 })
    expect(await take('b')).toMatchObject({ decision: 'taken', job_id, admission: { verify: 'python' } })
    await hear('b')
  })

  test('is stored piece by piece, by the attempt that has it alone, and each piece once', async () => {
    const payer = await newPayer(db, CREDIT)
    await make(payer)
    const first = await taken()
    const keep = (node_id: string, job: Taken, number: number) =>
      one('keep_job_chunk', { ...attemptOf(node_id, job), ...chunk(number) })
    expect([await keep('a', first, 0), await keep('a', first, 0), await keep('a', first, 1)]).toEqual(
      Array(3).fill({ decision: 'kept' }),
    )
    expect(await keep('b', first, 2)).toEqual({ decision: 'lost' })
    expect(await keep('a', first, 3)).toEqual({ decision: 'lost' })
    await lose(first.job_id)
    const second = await taken('a') // the same node, whose earlier attempt is another's now
    expect(second).toMatchObject({ job_id: first.job_id, chunk_count: 2, event_count: 2, stored_length: 20 })
    expect(second.request_id).not.toBe(first.request_id)
    expect(await keep('a', first, 2)).toEqual({ decision: 'lost' })
    expect(await end('a', first)).toEqual({ decision: 'lost' })
    expect(await end('a', second, { chunk: chunk(2) })).toEqual({ decision: 'ended' })
    const { account_id } = payer
    const page = await one('follow_job', { account_id, job_id: first.job_id, after: 1, seen: 0, bytes_max: 1000 })
    expect(page).toMatchObject({ job: { state: 'completed' }, chunks: [{ number: 1 }, { number: 2 }] })
    const rest = await one('follow_job', { account_id, job_id: first.job_id, after: 0, seen: 2, bytes_max: 1000 })
    expect(rest).toMatchObject({ chunks: [{ number: 2, event_count: 3 }] })
    const read = await one('read_responses', {
      key_hash: payer.key_hash,
      request_ids: [first.job_id],
      with_input: true,
    })
    expect(read).toMatchObject({ responses: [{ request_id: first.job_id }] })
    expect(await rowOf(first.job_id)).toMatchObject({ request: null, input: null, address: null, result: null })
  })

  test('that is refused for a moment waits a moment, one that is refused for good fails, and so does one begun too often', async () => {
    const payer = await newPayer(db, CREDIT)
    const { job_id } = await make(payer)
    expect(await giveBack('a', await taken(), { delay_ms: 60_000, counts: false })).toEqual({ decision: 'returned' })
    expect(await take()).toEqual({ decision: 'none' })
    expect(await rowOf(job_id)).toMatchObject({ state: 'queued', attempts: 0 })
    const error = { message: 'm', type: 'invalid_request_error', param: null, code: 'c' }
    await db.sql`update jobs set due_at = clock_timestamp()`
    await giveBack('a', await taken(), { error, status_code: 400 })
    expect(await rowOf(job_id)).toMatchObject({ state: 'failed', error, status_code: 400 })
    const often = await make(payer)
    for (let i = 0; i < 5; i += 1) await giveBack('a', await taken())
    expect(await rowOf(often.job_id)).toMatchObject({ state: 'failed', status_code: 500 })
  })

  test('was not begun where its node lives and does not run it, and was where its node’s process ended with it', async () => {
    const payer = await newPayer(db, CREDIT)
    const { job_id } = await make(payer)
    for (let lost = 0; lost < 7; lost += 1) {
      await taken()
      await lose(job_id)
      await hear('a', { running_ids: [randomUUID()] })
      await one('tend_jobs', { count_max: 10 })
      expect(await rowOf(job_id)).toMatchObject({ state: 'queued', attempts: 0 })
    }
    for (let ended = 1; ended <= 5; ended += 1) {
      await taken()
      const is_heard = random.chance(0.5) // else it is not seen again before its lease ends
      if (is_heard) for (const anew of [true, false]) await hear('a', { anew })
      else await lose(job_id)
      await one('tend_jobs', { count_max: 10 })
      expect(await rowOf(job_id)).toMatchObject({ state: ended < 5 ? 'queued' : 'failed', attempts: ended })
    }
  })

  test('that is not begun in its time fails, and what is over is forgotten', async () => {
    const payer = await newPayer(db, CREDIT)
    const { job_id } = await make(payer)
    await db.sql`update jobs set expires_at = clock_timestamp()`
    expect(await take()).toEqual({ decision: 'none' })
    expect(await one('tend_jobs', { count_max: 10 })).toEqual({ decision: 'tended', count: 1 })
    expect(await rowOf(job_id)).toMatchObject({ state: 'failed', error: { code: 'job_expired' } })
    const { job_id: other } = await make(payer)
    const job = await taken()
    await end('a', job, { chunk: chunk(0) })
    await db.sql`update jobs set ended_at = ended_at - interval '25 hours'`
    await db.sql`update job_chunks set created_at = created_at - interval '25 hours'`
    expect(await one('tend_jobs', { count_max: 10 })).toEqual({ decision: 'tended', count: 1 })
    expect(await db.sql`select * from job_chunks where job_id = ${other}`).toEqual([])
    await db.sql`update jobs set ended_at = ended_at - interval '30 days'`
    expect(await one('tend_jobs', { count_max: 10 })).toEqual({ decision: 'tended', count: 2 })
    expect(await one('tend_jobs', { count_max: 10 })).toEqual({ decision: 'tended', count: 0 })
  })

  test('is read and cancelled by keys of its account alone, and a key that was revoked runs none', async () => {
    const [payer, stranger] = [await newPayer(db, CREDIT), await newPayer(db, CREDIT)]
    const { job_id } = await make(payer)
    for (const name of ['read_job', 'cancel_job'] as const)
      expect(await one(name, { key_hash: stranger.key_hash, job_id })).toEqual({ decision: 'not_found' })
    const follow = { job_id, account_id: stranger.account_id, after: 0, seen: 0, bytes_max: 1000 }
    expect(await one('follow_job', follow)).toEqual({ decision: 'not_found' })
    await db.ask('revoke_key', { operator: true, key_id: payer.key_id })
    expect((await admit(await taken())).decision).toBe('revoked_key')
  })

  test('that its account’s suspension or its cancelling ends is stopped on its node', async () => {
    const payer = await newPayer(db, CREDIT)
    await make(payer)
    const job = await taken()
    await admit(job)
    expect(await hear('a', { running_ids: [job.request_id] })).toMatchObject({ stop: [] })
    expect(await one('cancel_job', { key_hash: payer.key_hash, job_id: job.job_id })).toMatchObject({
      job: { state: 'cancelled' },
    })
    expect(await hear('a', { running_ids: [job.request_id] })).toMatchObject({ stop: [job.request_id] })
    const told = await db.sql`select type from outbox where account_id = ${payer.account_id} and type like 'response.%'`
    expect(told).toMatchObject([{ type: 'response.cancelled' }])
  })
})

test('a job that was deleted is not there for its account, and nothing is left of what was said', async () => {
  const payer = await newPayer(db, CREDIT)
  const asker = { key_hash: payer.key_hash }
  for (const state of ['queued', 'running', 'cancelled', 'untold']) {
    const { job_id } = await make(payer)
    if (state !== 'queued') {
      const job = await taken()
      await admit(job)
      await one('keep_job_chunk', { ...attemptOf('a', job), ...chunk(0), tokens: 4 })
      if (state !== 'running') await one('cancel_job', { ...asker, job_id })
      if (state === 'cancelled') await end('a', job)
    }
    expect(await one('delete_response', { ...asker, request_id: job_id })).toEqual({ decision: 'deleted' })
    for (const name of ['read_job', 'cancel_job'] as const)
      expect(await one(name, { ...asker, job_id })).toEqual({ decision: 'not_found' })
    const follow = { job_id, account_id: payer.account_id, after: 0, seen: 0, bytes_max: 1000 }
    expect(await one('follow_job', follow)).toEqual({ decision: 'not_found' })
    expect(await one('delete_response', { ...asker, request_id: job_id })).toEqual({ decision: 'not_found' })
    expect(await db.sql`select from job_chunks where job_id = ${job_id}`).toEqual([])
    const left = await db.sql`select request, input, head, result, address from jobs where id = ${job_id}`
    const nothing = { request: null, input: null, head: null, result: null, address: null }
    expect(left).toEqual(['running', 'untold'].includes(state) ? [nothing] : [])
    await db.sql`update jobs set leased_until = clock_timestamp() where leased_until is not null`
    await one('tend_jobs', { count_max: 10 })
  }
})

const ends: [string, (asker: object, job_id: string) => Promise<unknown>][] = [
  ['cancelled', (asker, job_id) => one('cancel_job', { ...asker, job_id })],
  ['deleted', (asker, job_id) => one('delete_response', { ...asker, request_id: job_id })],
]

test.each(ends)(
  'a job that was %s, and finished all the same, costs what its node says was seen of it',
  async (_, endBy) => {
    for (const [delivered_tokens, cost] of [
      [0, 0],
      [4, 40],
      [20, 120],
    ] as const) {
      const payer = await newPayer(db, CREDIT)
      const { job_id } = await make(payer)
      const job = await taken()
      await admit(job)
      await endBy({ key_hash: payer.key_hash }, job_id)
      await settle(payer, job, 'stop', 20, 20)
      for (let told = 0; told < 2; told += 1) {
        expect(await end('a', job, { delivered_tokens })).toEqual({ decision: 'lost' })
        expect(await spent(payer)).toBe(cost)
      }
      expect(await ledgerFindings(db.sql, [payer.account_id])).toEqual([])
    }
  },
)

test.each(ends)(
  'a job that was %s, and finished by a node that then died, costs what was stored of it',
  async (_, endBy) => {
    const payer = await newPayer(db, CREDIT)
    const { job_id } = await make(payer)
    const job = await taken()
    await admit(job)
    await one('keep_job_chunk', { ...attemptOf('a', job), ...chunk(0), tokens: 4 })
    await endBy({ key_hash: payer.key_hash }, job_id)
    const leaseIsOver = () =>
      db.sql`update jobs set leased_until = clock_timestamp() - interval '1 ms' where leased_until is not null`
    await leaseIsOver()
    expect(await one('tend_jobs', { count_max: 10 })).toEqual({ decision: 'tended', count: 1 }) // its node may still report it
    await settle(payer, job, 'stop', 20, 20)
    expect(await spent(payer)).toBe(120)
    await leaseIsOver()
    expect(await one('tend_jobs', { count_max: 10 })).toEqual({ decision: 'tended', count: 1 })
    expect(await spent(payer)).toBe(40)
    await leaseIsOver()
    expect(await one('tend_jobs', { count_max: 10 })).toEqual({ decision: 'tended', count: 0 })
    await end('a', job)
    expect(await spent(payer)).toBe(40)
    expect(await ledgerFindings(db.sql, [payer.account_id])).toEqual([])
  },
)

interface Attempt {
  payer: Payer
  node_id: string
  job: Taken
  is_admitted: boolean
  settled: string | null // its outcome
}

describe('histories of jobs', () => {
  test('leave books that agree: each job is paid once, and only what was brought to its end or seen of it', async () => {
    for (let history = 0; history < HISTORIES; history += 1) await runHistory()
  })
})

async function runHistory() {
  await db.sql`truncate jobs, job_chunks`
  const payers = [await newPayer(db, CREDIT), await newPayer(db, 700n)]
  const byKey = new Map(payers.map((payer) => [payer.key_hash, payer]))
  const attempts: Attempt[] = []
  const made: string[] = []
  const delivered = 4
  const steps: (() => Promise<unknown>)[] = [
    async () => {
      const { job_id, decision } = await make(
        random.pick(payers),
        random.chance(0.3) ? { ...(await newLine()), head: null, input: null } : {},
      )
      if (decision === 'created') made.push(job_id)
    },
    async () => {
      const node_id = random.pick(['a', 'b'])
      const job = await take(node_id)
      if (job.decision !== 'taken') return
      const payer = byKey.get(job.key_hash)!
      const attempt: Attempt = { payer, node_id, job, is_admitted: false, settled: null }
      if (random.chance(0.9)) {
        const { decision } = await admit(job)
        attempt.is_admitted = decision === 'admitted'
        if (!attempt.is_admitted)
          await giveBack(node_id, job, {
            counts: false,
            error: { message: '', type: 't', param: null, code: null },
            status_code: 429,
          })
      }
      attempts.push(attempt)
    },
    async () => attempts.length > 0 && lose(random.pick(attempts).job.job_id),
    async () => db.ask('tend_jobs', { count_max: 3 }),
    () => settleOne(attempts, delivered),
    () => settleOne(attempts, delivered),
    async () => {
      const { node_id, job, settled } = attempts.length > 0 ? random.pick(attempts) : ({} as Attempt)
      if (settled === 'stop') await end(node_id, job, { delivered_tokens: random.chance(0.5) ? delivered : 0 })
      else if (job && settled !== null && settled !== 'revoked') await giveBack(node_id, job)
    },
    async () => {
      if (made.length === 0 || random.chance(0.6)) return
      const job_id = random.pick(made)
      await db.ask('cancel_job', ...payers.map(({ key_hash }) => ({ key_hash, job_id })))
    },
  ]
  for (let step = 0; step < 120; step += 1) await random.pick(steps)()
  for (const attempt of attempts) await settleAttempt(attempt, 'node_lost', delivered) // a node that was away comes back
  await db.sql`update jobs set leased_until = clock_timestamp() - interval '1 ms' where state = 'running'`
  await db.ask('tend_jobs', { count_max: 1000 })
  for (const attempt of attempts)
    if (attempt.settled === 'stop') await end(attempt.node_id, attempt.job, { delivered_tokens: delivered })
  const rows = await db.sql`select id, account_id, state, request_id from jobs`
  for (const payer of payers) {
    expect(await ledgerFindings(db.sql, [payer.account_id])).toEqual([])
    const own = rows.filter(({ account_id }) => account_id === payer.account_id)
    const whole = own.filter(({ state }) => state === 'completed').length * 120
    const cancelled = own.filter(({ state }) => state === 'cancelled').length * (20 + 5 * (delivered + 8))
    const sum = await spent(payer)
    expect(sum).toBeGreaterThanOrEqual(whole)
    expect(sum).toBeLessThanOrEqual(whole + cancelled)
    const [account] = await db.sql`select pending_nanousd::int from accounts where id = ${payer.account_id}`
    expect(account!.pending_nanousd).toBe(0)
  }
}

async function settleOne(attempts: Attempt[], delivered: number) {
  const open = attempts.filter(({ is_admitted, settled }) => is_admitted && settled === null)
  if (open.length === 0) return
  const attempt = random.pick(open)
  const [row] = await db.sql`select state from jobs where request_id = ${attempt.job.request_id}`
  const outcome =
    row?.state === 'running'
      ? random.pick(['stop', 'stop', 'error', 'node_lost'])
      : random.pick(['revoked', 'node_lost', 'stop'])
  await settleAttempt(attempt, outcome, delivered)
}

async function settleAttempt(attempt: Attempt, outcome: string, delivered: number) {
  if (!attempt.is_admitted || attempt.settled !== null) return
  attempt.settled = outcome
  const is_whole = outcome === 'stop'
  await settle(attempt.payer, attempt.job, outcome, is_whole ? 20 : 10, is_whole ? 20 : delivered)
}
