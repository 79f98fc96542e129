// LoRA adapters in the ledger's database: whose they are, which node serves them, what they cost, and by whose name is booked.

import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Answer } from '../../gateway/db/functions.ts'
import { newKey, newPayer, type Payer, startTestPostgres, type TestPostgres } from '../support/postgres.ts'

let db: TestPostgres
let payer: Payer
let other: Payer

const one = async <N extends Parameters<TestPostgres['ask']>[0]>(name: N, item: object) =>
  (await db.ask(name, item))[0]! as Answer<N>
const publish = (model: string, input: number, more: object = {}) =>
  one('publish_price', { model, input_nanousd_per_token: String(input), output_nanousd_per_token: '9', ...more })
const create = (id: string, account_id: string | null = null, base = 'm') =>
  one('create_adapter', { id, base, account_id })

beforeAll(async () => {
  db = await startTestPostgres()
  payer = await newPayer(db, 1_000_000n)
  other = await newPayer(db, 1_000_000n)
})
afterAll(() => db?.stop())
beforeEach(async () => {
  await db.sql`truncate adapters, jobs, job_chunks`
  await db.sql`delete from registered_nodes`
  await db.sql`alter table prices disable trigger all`
  await db.sql`delete from prices where not exists (select from reservations r where (r.model, r.price_version) = (prices.model, version))`
  await db.sql`alter table prices enable trigger all`
  await publish('m', 2)
  await one('create_node', { id: 'n', url: 'http://n', model: 'm', key: 'k' })
})

const BOOT = { boot_id: randomUUID(), folder_id: randomUUID(), boot_number: 1 }
let sequence = 0

/** A node's report, with the adapters that it serves; of a gateway of the release before without any. */
function hear(adapters?: string[], more: object = {}) {
  sequence += 1
  const load = { state: 'ready', context_tokens: 100, running: 0, waiting: 0, blocks_total: 1, blocks_free: 1 }
  const named = { report_id: randomUUID(), node_id: 'n', key: 'k', url: 'http://n', model: 'm', running_ids: [] }
  const said = {
    ...named,
    ...load,
    ...BOOT,
    sequence,
    sent_unix_ms: Date.now(),
    ...(adapters && { adapters }),
    ...more,
  }
  return one('hear_node', said)
}

function wish(model: string, { key_hash } = payer, own: object = {}) {
  const tokens = { prompt_tokens_max: 10, request_output_tokens_max: 20, choices: 1 }
  const limits = { requests_per_minute: 1e6, tokens_per_minute: 1e9, requests_in_flight_max: 1e6 }
  return {
    request_id: randomUUID(),
    key_hash,
    model,
    ...tokens,
    ttl_ms: 60_000,
    limits,
    registered_nodes: true,
    ...own,
  }
}
const admit = (model: string, by = payer) => one('admit', wish(model, by))
const decision = async (model: string, by = payer) => (await admit(model, by)).decision

describe('an adapter', () => {
  test('is served by nodes that say so and have its base', async () => {
    await create('a')
    expect(await decision('a')).toBe('no_node')
    await hear(['a', 'unknown'])
    expect(await decision('a')).toBe('admitted')
    expect(await decision('unknown')).toBe('no_price')
    await publish('unknown', 1)
    expect(await decision('unknown')).toBe('no_node')
    await hear() // by a gateway of the release before
    expect(await decision('a')).toBe('admitted')
    await hear([])
    expect(await decision('a')).toBe('no_node')
    await publish('elsewhere', 1)
    await create('over another', null, 'elsewhere')
    await hear(['over another'])
    expect(await decision('over another')).toBe('no_node')
  })

  test('that a node calls by the name of a model takes nothing from that model', async () => {
    await publish('another model', 1)
    await hear(['another model'])
    expect(await decision('another model')).toBe('no_node')
  })

  test('of an account is no model to others, wherever they ask', async () => {
    await create('own', payer.account_id)
    await hear(['own'])
    expect([await decision('own'), await decision('own', other)]).toEqual(['admitted', 'model_not_found'])
    const asked = async ({ key_hash }: Payer, model = 'own') => one('find_nodes', { key_hash, model })
    expect(await asked(payer)).toMatchObject({ decision: 'found', base: 'm', nodes: [{ id: 'n' }] })
    expect(await asked(other)).toEqual({ decision: 'model_not_found' })
    expect(await asked(other, 'm')).toMatchObject({ decision: 'found', base: null })
    const seen = async ({ key_hash }: Payer) => (await one('read_prices', { key_hash })) as { adapters: object }
    expect([(await seen(payer)).adapters, (await seen(other)).adapters]).toEqual([{ own: 'm' }, {}])
    expect(await one('estimate', wish('own', other))).toMatchObject({ verdict: { decision: 'model_not_found' } })
  })

  test('of another account and one that is none are the same to a key that may use one model', async () => {
    await create('own', payer.account_id)
    const key = { ...other, ...(await newKey(db, other.account_id, { models: ['m'] })) }
    const asked = (model: string) => one('find_nodes', { key_hash: key.key_hash, model })
    expect([await asked('own'), await asked('nothing')]).toEqual(Array(2).fill({ decision: 'model_not_allowed' }))
  })

  test('is given to another account, or to all, and never to another base', async () => {
    expect(await create('a', payer.account_id)).toMatchObject({
      decision: 'created',
      adapter: { account_id: payer.account_id },
    })
    expect(await create('a')).toMatchObject({ decision: 'created', adapter: { account_id: null } })
    expect((await create('a', null, 'other')).decision).toBe('adapter_exists')
    expect((await create('b', '999999')).decision).toBe('unknown_account')
    expect(await one('read_adapters', {})).toMatchObject({ adapters: [{ id: 'a', base: 'm' }] })
    expect((await one('remove_adapter', { id: 'a' })).decision).toBe('removed')
    expect((await one('remove_adapter', { id: 'a' })).decision).toBe('not_found')
  })
})

describe('what it costs', () => {
  const priceOf = async (model: string, { account_id }: Payer | { account_id: null } = { account_id: null }) => {
    const [row] = await db.sql`
      select input_nanousd_per_token as input from ledger.price_at(${model}, ${account_id}::bigint, clock_timestamp())`
    return row?.input === null || row?.input === undefined ? null : Number(row.input)
  }

  test('is what its base costs, list and agreed, now and later, until a price of its own is published', async () => {
    await publish('m', 1, { account_id: payer.account_id })
    await create('a')
    expect([await priceOf('a'), await priceOf('a', payer), await priceOf('a', other)]).toEqual([2, 1, 2])
    await publish('m', 3)
    expect([await priceOf('m'), await priceOf('a'), await priceOf('a', payer)]).toEqual([3, 3, 1])
    await publish('a', 7)
    await publish('m', 4)
    expect([await priceOf('m'), await priceOf('a')]).toEqual([4, 7])
  })

  test('is what was announced of its base before it came', async () => {
    const valid_from = new Date(Date.now() + 3_600_000).toISOString()
    await publish('m', 5, { valid_from })
    await create('a')
    const rows =
      await db.sql`select input_nanousd_per_token as input, valid_from from prices where model = 'a' order by version`
    expect(rows.map(({ input }) => Number(input))).toEqual([2, 5])
    expect(rows[1]!.valid_from.toISOString()).toBe(valid_from)
  })

  test('is booked by its name, and a removed one is settled as it was admitted', async () => {
    await publish('a', 7)
    await create('a')
    await publish('a', 8)
    await hear(['a'])
    const wanted = wish('a')
    const admission = (await one('admit', wanted)) as Extract<Answer<'admit'>, { decision: 'admitted' }>
    expect(admission.reserved_nanousd).toBe(String(10 * 8 + 20 * 9))
    await one('remove_adapter', { id: 'a' })
    const record = {
      ...{ prompt_tokens: 10, cached_tokens: 0, completion_tokens: 4, delivered_tokens: 4, outcome: 'stop' },
      ...{ started_unix_ms: 1_700_000_000_123, first_token_ms: 1, duration_ms: 7 },
    }
    const { account_id, key_id, price_version, reserved_nanousd } = admission
    const settled = await one('settle', {
      ...{
        request_id: wanted.request_id,
        attempt: 1,
        node_id: 'n',
        account_id,
        key_id,
        model: 'a',
        price_version,
        reserved_nanousd,
      },
      ...{ issued_unix_ms: Date.now(), ...record },
    })
    expect(settled).toMatchObject({ decision: 'posted' })
    const [used] =
      await db.sql`select model, cost_nanousd from usage_daily where account_id = ${payer.account_id} and model = 'a'`
    expect(used).toMatchObject({ model: 'a', cost_nanousd: String(10 * 8 + 4 * 9) })
  })
})

test('a node is given the jobs of its model and of its adapters, and of no other', async () => {
  await create('a')
  await create('b')
  await hear(['a'])
  const job = (model: string) => {
    const parts = { request: 'AAAA', input: 'AAAA', head: 'AAAA' }
    const admission = { prompt_tokens_max: 10, request_output_tokens_max: 20, choices: 1 }
    const kind = { kind: 'response', model, admission, window_s: 3600, account_bytes_max: 1000 }
    return one('create_job', { key_hash: payer.key_hash, job_id: randomUUID(), ...kind, ...parts })
  }
  for (const model of ['a', 'm', 'b']) expect((await job(model)).decision).toBe('created')
  expect(await hear(['a'], { job_slots: 9 })).toMatchObject({ jobs: 2 })
  const take = async () => {
    const taken = await one('take_job', { node_id: 'n', key: 'k', take_id: randomUUID(), sent_unix_ms: Date.now() })
    return taken.decision === 'taken' ? taken.model : taken.decision
  }
  expect([await take(), await take(), await take()].toSorted()).toEqual(['a', 'm', 'none'])
})
