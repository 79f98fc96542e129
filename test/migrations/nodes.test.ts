// Which process may speak for a node, and which nodes a request is offered.

import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { newPayer, startTestPostgres, type TestPostgres } from '../support/postgres.ts'

let db: TestPostgres

beforeAll(async () => {
  db = await startTestPostgres()
  await db.ask('publish_price', { model: 'm', input_nanousd_per_token: '2', output_nanousd_per_token: '5' })
})
afterAll(() => db?.stop())

const registered = { id: 'n', url: 'http://n', model: 'm', key: 'k' }
const condition = { context_tokens: 9, running: 1, waiting: 2, blocks_total: 3, blocks_free: 3 }
const FOLDER = randomUUID()
let sequence = 0
let sent_unix_ms = 0

function said(own: object = {}) {
  sequence += 1
  sent_unix_ms = Math.max(sent_unix_ms + 1, Date.now()) // no two are of one time
  const boot = { boot_id: BOOT, folder_id: FOLDER, boot_number: 1 }
  const named = { report_id: randomUUID(), node_id: 'n', key: 'k', url: 'http://n', model: 'm', state: 'ready' }
  return { ...named, ...condition, ...boot, sequence, sent_unix_ms, running_ids: [], ...own }
}
const BOOT = randomUUID()

const hear = async (own: object = {}) => (await db.ask('hear_node', said(own)))[0]!.decision
const silent = () => db.sql`update registered_nodes set last_seen_at = last_seen_at - interval '6 seconds'`

beforeEach(async () => {
  await db.sql`delete from registered_nodes`
  expect((await db.ask('create_node', registered))[0]!.decision).toBe('created')
  expect(await hear()).toBe('seen')
})

describe('one that speaks', () => {
  test('is asked again for its answer, and gets the same', async () => {
    const report = said()
    const answers = await db.ask('hear_node', report, report)
    expect([...answers, ...(await db.ask('hear_node', report))].map(({ decision }) => decision)).toEqual(
      Array(3).fill('seen'),
    )
    expect(await hear({ ...report, report_id: randomUUID() })).toBe('repeated_report')
  })

  test('is followed at once by a later process of its folder, and heard no more', async () => {
    const later = { boot_id: randomUUID(), boot_number: 2, sequence: 1 }
    expect(await hear(later)).toBe('seen')
    expect(await hear()).toBe('second_process')
    expect(await hear({ ...later, boot_id: randomUUID() })).toBe('second_process')
  })

  test('is followed by a process of another folder when it is silent or has stopped', async () => {
    const elsewhere = () => ({ boot_id: randomUUID(), folder_id: randomUUID(), sequence: 1 })
    expect(await hear(elsewhere())).toBe('second_process')
    await silent()
    expect(await hear(elsewhere())).toBe('seen')
    expect(await hear({ sent_unix_ms: Date.now() - 20_000 })).toBe('second_process')
    await silent()
    // Neither is it revived by what was recorded of a process before it.
    expect(await hear({ sent_unix_ms: Date.now() - 20_000 })).toBe('stale_report')
  })

  test('gives way at once to another where its last report said that it stopped', async () => {
    expect(await hear({ state: 'stopped' })).toBe('seen')
    expect(await hear({ boot_id: randomUUID(), folder_id: randomUUID(), sequence: 1 })).toBe('seen')
  })

  test.each([
    [-31_000, 'stale_report'],
    [-29_000, 'seen'],
    [29_000, 'seen'],
    [31_000, 'stale_report'],
  ])('%i ms from now is %s, and how far its clock is off is said', async (off_ms, decision) => {
    const [answer] = await db.ask('hear_node', said({ sent_unix_ms: Date.now() + off_ms }))
    expect(answer!.decision).toBe(decision)
    if (decision !== 'seen') expect(Math.abs(answer!.skew_ms - off_ms)).toBeLessThan(1000)
  })

  test('is told which of the requests that it runs must stop, and of no others', async () => {
    const { account_id, key_id } = await newPayer(db, 1000n)
    const stopped = (count: number) => db.sql`
      insert into reservations (request_id, account_id, key_id, model, price_version, amount_nanousd, attempt, state, expires_at, stopped_at)
      select gen_random_uuid(), ${account_id}, ${key_id}, 'm', 1, 0, 1, 'pending', now() + interval '1 hour', now()
      from generate_series(1, ${count}::int) returning request_id`
    await stopped(2000)
    const [mine] = await stopped(1)
    const running_ids = [randomUUID(), mine!.request_id, randomUUID()]
    expect((await db.ask('hear_node', said({ running_ids })))[0]!.stop).toEqual([mine!.request_id])
  })
})

describe('an operator', () => {
  test('registers the same node again without an error, and another one under its id or with its key not', async () => {
    const create = async (own: object) => (await db.ask('create_node', { ...registered, ...own }))[0]!.decision
    expect(await create({})).toBe('created')
    expect(await create({ url: 'http://other' })).toBe('node_exists')
    expect(await create({ key: 'k2' })).toBe('node_exists')
    expect(await create({ id: 'n2' })).toBe('key_taken')
    expect(await create({ url: 'http://other', replace: true })).toBe('created')
    expect(await hear({ url: 'http://other' })).toBe('seen')
  })

  test('gives a node another key, and the one before works for the overlap', async () => {
    const rotate = (key: string, overlap_s: number) => db.ask('rotate_node_key', { id: 'n', key, overlap_s })
    await rotate('k2', 60)
    await rotate('k2', 60) // asked again it is the same
    expect([await hear(), await hear({ key: 'k2' })]).toEqual(['seen', 'seen'])
    expect((await db.ask('create_node', { ...registered, id: 'n2' }))[0]!.decision).toBe('key_taken')
    await rotate('k3', 0)
    expect([await hear(), await hear({ key: 'k2' }), await hear({ key: 'k3' })]).toEqual([
      'unknown_node_key',
      'unknown_node_key',
      'seen',
    ])
  })
})

describe('a request', () => {
  const offered = async (own: object = {}) => {
    const { key_hash } = await newPayer(db, 1000n)
    const tokens = { prompt_tokens_max: 1, request_output_tokens_max: 1 }
    const wish = { request_id: randomUUID(), key_hash, model: 'm', ...tokens, ttl_ms: 60_000, ...own }
    const [answer] = await db.ask('admit', wish)
    return (answer!.nodes ?? []).map(({ id }) => id)
  }
  const now = { registered_nodes: true }

  test('is offered the nodes that are registered, live, ready and not drained', async () => {
    expect(await offered(now)).toEqual(['n'])
    await db.ask('update_node', { id: 'n', drain: true })
    expect(await offered(now)).toEqual([])
    await db.ask('update_node', { id: 'n', drain: false })
    await hear({ state: 'draining' })
    expect(await offered(now)).toEqual([])
    await hear()
    await silent()
    expect(await offered(now)).toEqual([])
  })

  test('of a gateway of the release before is offered those that report to one, and no others', async () => {
    expect(await offered()).toEqual([])
    const old = { node_id: 'old', url: 'http://old', model: 'm', state: 'ready', ...condition }
    await db.ask('settle', { node: old })
    expect([await offered(), await offered(now)]).toEqual([['old'], ['n']])
    const health = async (item: object) => (await db.ask('health', item))[0]!.models
    expect([await health({}), await health(now)]).toEqual([{ m: 1 }, { m: 1 }])
    await silent()
    expect([await health({}), await health(now)]).toEqual([{ m: 1 }, {}])
  })

  test('whose answer is to be verified is offered those that do so in its language, as their processes said', async () => {
    const { key_hash } = await newPayer(db, 1000n)
    const tokens = { prompt_tokens_max: 1, request_output_tokens_max: 1, ttl_ms: 60_000 }
    const decided = async (own: object) =>
      (await db.ask('admit', { request_id: randomUUID(), key_hash, model: 'm', ...tokens, ...now, ...own }))[0]!
        .decision
    const python = { ...now, verify: 'python' }
    expect([await decided(python), await decided({})]).toEqual(['not_verified', 'admitted'])
    await hear({ verifies: ['python', 'go'] })
    expect([await offered(python), await offered({ ...python, verify: 'rust' })]).toEqual([['n'], []])
    await hear() // through a gateway of the release before, which does not pass it on
    expect(await offered(python)).toEqual(['n'])
    await hear({ boot_id: randomUUID(), boot_number: 2, sequence: 1 }) // a process of the release before
    expect([await offered(python), await decided(python), await offered(now)]).toEqual([[], 'not_verified', ['n']])
    await silent()
    expect([await decided(python), await decided({})]).toEqual(['no_node', 'no_node'])
  })
})
