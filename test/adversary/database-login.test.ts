// One who holds the gateway's login to the database. It can call what the gateway calls, and that is much: an operator's functions are
// among it. So the rows say which of its attempts fail, and which succeed and are seen; none moves money without a line of the ledger,
// and none shows a secret.

import { randomUUID } from 'node:crypto'
import type postgres from 'postgres'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type FunctionName, functions } from '../../gateway/db/functions.ts'
import { gatewayUrl } from '../../local/gateway-login.ts'
import { connect } from '../support/logins.ts'
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
let login: postgres.Sql
let victim: Payer
let request_id: string // of a request of the victim's that runs

const PRICE = { model: 'm', input_nanousd_per_token: '2', output_nanousd_per_token: '5' }
const NODE = { id: 'n', url: 'http://n', model: 'm', key: 'k' }
const condition = { state: 'ready', context_tokens: 9, running: 1, waiting: 2, blocks_total: 3, blocks_free: 3 }
const counts = { prompt_tokens: 10, cached_tokens: 0, completion_tokens: 4, delivered_tokens: 4, outcome: 'stop' }
const times = { started_unix_ms: 0, first_token_ms: null, duration_ms: 1 }

beforeAll(async () => {
  db = await startTestPostgres()
  login = connect(await gatewayUrl(db.sql, db.url))
  await db.ask('publish_price', PRICE)
  await db.ask('create_node', NODE)
})
afterAll(async () => {
  await login?.end({ timeout: 5 })
  await db?.stop()
})
beforeEach(async () => {
  victim = await newPayer(db, 1000n)
  request_id = randomUUID()
  await ask('hear_node', heard()) // a node that is silent for seconds is offered nothing
  const wish = { request_id, key_hash: victim.key_hash, model: 'm', registered_nodes: true, ttl_ms: 60_000 }
  const admitted = await ask('admit', { ...wish, prompt_tokens_max: 10, request_output_tokens_max: 20 })
  expect(admitted).toMatchObject({ decision: 'admitted' })
})

let sequence = 0
function heard(own: object = {}) {
  sequence += 1
  const boot = { boot_id: BOOT, folder_id: BOOT, boot_number: 1, sequence, sent_unix_ms: Date.now() }
  const named = { report_id: randomUUID(), node_id: 'n', key: 'k', url: 'http://n', model: 'm' }
  return { ...named, ...condition, ...boot, running_ids: [], ...own }
}
const BOOT = randomUUID()

async function ask(name: string, item: object): Promise<Record<string, unknown>> {
  return (await call(login, name, [item]))[0] as never
}

async function decision(name: string, item: object): Promise<unknown> {
  return (await ask(name, item)).decision
}

/** A reservation as a ticket would have it. */
function reservation(own: object = {}) {
  const { account_id, key_id } = victim
  const priced = { model: 'm', attempt: 1, price_version: 1, reserved_nanousd: '120' }
  return { request_id, account_id, key_id, ...priced, issued_unix_ms: 0, node_id: 'n', ...own }
}

const usage = (own: object = {}) => ({ ...reservation(), ...counts, ...times, ...own })

interface Books {
  credited: bigint
  debited: bigint
  lines: number
  anomalies: number
}

async function books(): Promise<Books> {
  const [row] = await db.sql`
    select credited_nanousd, debited_nanousd, entry_count::int as lines,
      (select count(*)::int from anomalies) as anomalies
    from accounts where id = ${victim.account_id}`
  const { credited_nanousd, debited_nanousd, lines, anomalies } = row!
  return { credited: BigInt(credited_nanousd), debited: BigInt(debited_nanousd), lines, anomalies }
}

const DENIED = { code: '42501' }

describe('fails:', () => {
  test.each([
    ['to read the hashes of keys', 'select hash from keys'],
    ['to read what was kept for repeated calls', 'select * from idempotent_requests'],
    ['to read accounts', 'select * from accounts'],
    ['to read which nodes there are, and with which keys', 'select * from registered_nodes'],
    ['to read the views of the reader', 'select * from read.accounts'],
    [
      'to write itself an entry',
      "insert into entries (account_id, sequence, kind, amount_nanousd) values (1, 9, 'top_up', 1)",
    ],
    ['to write itself a balance', 'update accounts set credited_nanousd = 1'],
    ['to lift the limits of late usage', 'update late_limits set request_nanousd_max = 1'],
    ['to say that the database crashed', 'delete from ledger_life'],
    ['to forget what was refused', 'delete from node_refusals'],
    ['to forget anomalies', 'delete from anomalies'],
    ['to call what decides inside', "select ledger.restore_lost_reservations('[]', 'expired')"],
    ['to hear a node without a question', "select ledger.create_node('{}')"],
    ['to read files of the machine', "select pg_read_file('/etc/passwd')"],
    ['to run commands of the machine', "copy (select 1) to program 'true'"],
    ['to become the owner', 'set role postgres'],
    ['to make a function', 'create function f() returns int language sql as $$ select 1 $$'],
  ])('%s', async (_, statement) => {
    await expect(login.unsafe(statement)).rejects.toMatchObject(DENIED)
  })

  test('to have more charged than was reserved', async () => {
    expect(await decision('settle', usage({ completion_tokens: 1e12 }))).toBe('posted')
    expect((await books()).debited).toBe(120n)
  })

  test('to have the same request charged twice, or another account charged for it', async () => {
    const other = await newPayer(db, 1000n)
    expect(await decision('settle', usage({ account_id: other.account_id }))).toBe('rejected')
    expect(await decision('settle', usage())).toBe('posted')
    expect(await decision('settle', usage())).toBe('duplicate')
    expect(await decision('settle', usage({ completion_tokens: 9 }))).toBe('conflict')
    expect((await books()).debited).toBe(40n)
  })

  test('to have negative tokens charged', async () => {
    const before = await books()
    await expect(ask('settle', usage({ completion_tokens: -1e6 }))).rejects.toThrow()
    await expect(ask('settle', usage({ prompt_tokens: -1, cached_tokens: -1 }))).rejects.toThrow()
    expect(await books()).toEqual(before)
  })

  test('to refund more than was charged, or what another paid', async () => {
    await ask('settle', usage())
    const refund = { account_id: victim.account_id, request_id, reference: randomUUID(), note: null }
    expect(await decision('refund', { ...refund, amount_nanousd: '41' })).toBe('above_charge')
    const other = await newPayer(db, 1000n)
    expect(await decision('refund', { ...refund, account_id: other.account_id, amount_nanousd: '1' })).not.toBe(
      'refunded',
    )
    expect((await books()).credited).toBe(1000n)
  })

  test('to have the prompts of a node that is registered sent elsewhere', async () => {
    expect(await decision('hear_node', heard({ url: 'http://thief' }))).toBe('other_node_url')
    expect(await decision('create_node', { ...NODE, url: 'http://thief' })).toBe('node_exists')
    expect(await decision('create_node', { ...NODE, id: 'thief' })).toBe('key_taken')
  })

  test('to see a secret in any answer of an operator’s functions', async () => {
    const operator = { operator: true, account_id: victim.account_id, key_id: victim.key_id }
    for (const name of [
      'read_key',
      'read_account',
      'read_billing',
      'read_balance',
      'read_usage',
      'read_prices',
    ] as const) {
      const answer = JSON.stringify(await ask(name, { ...operator, request_id, limit: 10 }))
      expect(answer).not.toContain(victim.key_hash)
      expect(answer).not.toMatch(/"hash"|"secret"|"password"/)
    }
  })
})

describe('succeeds, and is seen:', () => {
  const reference = () => randomUUID()

  test.each<[string, string, () => object, bigint, bigint]>([
    ['a top-up', 'top_up', () => ({ amount_nanousd: '500', reference: reference() }), 500n, 0n],
    [
      'a grant',
      'give_grant',
      () => ({ amount_nanousd: '500', reference: reference(), expires_at: '2099-01-01T00:00:00Z', note: null }),
      500n,
      0n,
    ],
    [
      'an adjustment up',
      'adjust',
      () => ({ direction: 'credit', amount_nanousd: '5', reference: reference(), note: 'x' }),
      5n,
      0n,
    ],
    [
      'an adjustment down',
      'adjust',
      () => ({ direction: 'debit', amount_nanousd: '5', reference: reference(), note: 'x' }),
      0n,
      5n,
    ],
  ])('%s is a line of the account’s statement', async (_, name, item, credit, debit) => {
    const before = await books()
    await ask(name, { account_id: victim.account_id, ...item() })
    const after = await books()
    expect([after.credited - before.credited, after.debited - before.debited]).toEqual([credit, debit])
    expect(after.lines).toBe(before.lines + 1)
  })

  test('usage of requests that never were is late usage, $20 a request and $1000 an account at the most', async () => {
    const never = (own: object = {}) => usage({ request_id: randomUUID(), completion_tokens: 1e12, ...own })
    expect(await decision('settle', never({ reserved_nanousd: '5000000000000' }))).toBe('rejected')
    let paid = 0
    for (let i = 0; i < 52; i += 1)
      if ((await decision('settle', never({ reserved_nanousd: '20000000000' }))) === 'late') paid += 1
    expect(paid).toBe(50)
    const [row] = await db.sql`
      select count(*)::int as lines, sum(amount_nanousd)::text as amount from entries
      where account_id = ${victim.account_id} and kind = 'late_usage'`
    expect(row).toEqual({ lines: 50, amount: '1000000000000' })
    const [anomalies] = await db.sql`select count(*)::int as count from anomalies
      where kind = 'above_late_limit' and detail ->> 'account_id' = ${victim.account_id}`
    expect(anomalies!.count).toBe(3)
  })

  test('a request that is given back while it runs costs nothing, and its receipt says so', async () => {
    expect(await decision('void', reservation())).toBe('voided')
    expect(await decision('settle', usage())).toBe('voided')
    expect(await ask('read_usage', { operator: true, request_id })).toMatchObject({ usage: { state: 'voided' } })
  })

  test('a key for somebody’s account is in the list of its keys', async () => {
    const hash = 'ab'.repeat(32)
    const key = {
      operator: true,
      account_id: victim.account_id,
      name: 'mine',
      hash,
      prefix: 'zc_live_x',
      last_four: 'xxxx',
    }
    expect(await decision('create_key', { ...key, scopes: ['generate'], models: null, expires_at: null })).toBe(
      'created',
    )
    const names = await db.sql`select name from read.keys where account_id = ${victim.account_id}`
    expect(names.map(({ name }) => name)).toContain('mine')
  })

  test('a node of its own, or another key for one, is in the list of nodes', async () => {
    expect(await decision('create_node', { id: 'thief', url: 'http://thief', model: 'm', key: 'k2' })).toBe('created')
    await ask('rotate_node_key', { id: 'thief', key: 'k3', overlap_s: 0 })
    const [row] =
      await db.sql`select url, public_key, old_key_until < now() as ended from read.nodes where id = 'thief'`
    expect(row).toEqual({ url: 'http://thief', public_key: 'k3', ended: true })
    await ask('remove_node', { id: 'thief' })
  })

  test('a price is in the price book, and changes none of what was admitted', async () => {
    await ask('publish_price', { model: 'm', input_nanousd_per_token: '2000', output_nanousd_per_token: '5000' })
    expect(await decision('settle', usage())).toBe('posted')
    expect((await books()).debited).toBe(40n)
    const prices = await db.sql`select from read.prices where model = 'm'`
    expect(prices.length).toBeGreaterThan(1)
    await db.ask('publish_price', PRICE)
  })

  test('a flood of records is counted whole and kept by the thousand', async () => {
    const records = Array.from({ length: 1500 }, () => ({ request_id: randomUUID() }))
    const items = records.map((record) => ({ ...record, kind: 'bad_ticket', node_id: 'n', sqlstate: null, record }))
    await call(login, 'keep_unsettled', items)
    const [row] =
      await db.sql`select (select count from node_refusals where node_id = 'n' and reason = 'bad_ticket') as counted,
      (select count(*) from anomalies where kind = 'bad_ticket') as kept`
    expect(row).toEqual({ counted: '1500', kept: '1000' })
  })
})

test('items that no gateway sends change no account but by lines of its statement', async () => {
  const random = seededRandom()
  const values = () => [
    null,
    true,
    -1,
    1e18,
    'x',
    '',
    'a\\u0000',
    [],
    {},
    '-9223372036854775808',
    victim.account_id,
    request_id,
  ]
  const fields = [
    'account_id',
    'request_id',
    'key_id',
    'operator',
    'amount_nanousd',
    'reference',
    'attempt',
    'count_max',
    'node_id',
    'id',
    'hash',
    'key_hash',
  ]
  const hostile = () =>
    Object.fromEntries(fields.filter(() => random.chance(0.6)).map((name) => [name, random.pick(values())]))
  for (const name of Object.keys(functions) as FunctionName[])
    for (const items of [[hostile(), hostile()], [random.pick(values())], [[]]] as object[][])
      await call(login, name, items).catch((error: { code?: string }) =>
        expect(error.code).toMatch(/^(22|23|42|P0|0A|2F|54|55|40)/),
      )
  expect(await ledgerFindings(db.sql, [victim.account_id])).toEqual([])
})
