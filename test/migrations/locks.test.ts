// In what order the functions lock accounts, and that what they decide by is read under the lock.

import { createHash, randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { FunctionName } from '../../gateway/db/functions.ts'
import { PATIENCE_MS } from '../support/patience.ts'
import { newKey, newPayer, type Payer, startTestPostgres, type TestPostgres } from '../support/postgres.ts'

let db: TestPostgres

beforeAll(async () => {
  db = await startTestPostgres()
})
afterAll(() => db?.stop())

const newHash = () => createHash('sha256').update(randomUUID()).digest('hex')
const newPayers = () => Promise.all([newPayer(db, 0n, { scopes: ['admin'] }), newPayer(db, 0n, { scopes: ['admin'] })])
const stored = { prefix: 'zc_live_test', last_four: 'test' }
const shown = { name: 'k', ...stored }

/** Calls a function while an account is locked, and does something there once the call waits for it. */
async function callBehindLock(
  account_id: string,
  name: FunctionName,
  items: object[],
  meanwhile: (sql: TestPostgres['sql']) => Promise<unknown>,
) {
  let call: ReturnType<TestPostgres['ask']>
  await db.sql.begin(async (sql) => {
    await sql`select ledger.lock_accounts(array[${account_id}::bigint])`
    call = db.ask(name, ...items)
    call.catch(() => {})
    await expect
      .poll(async () => await sql`select from pg_stat_activity where wait_event_type = 'Lock'`, {
        timeout: PATIENCE_MS,
      })
      .toHaveLength(1)
    await meanwhile(sql as unknown as TestPostgres['sql'])
  })
  return (await call!).map(({ decision }) => decision)
}

describe('of two accounts in one call, the lower is locked first, in whichever order they come', () => {
  test.each<[FunctionName, (payer: Payer) => object, string]>([
    ['create_key', ({ key_hash }) => ({ ...shown, key_hash, hash: newHash() }), 'created'],
    [
      'create_key',
      ({ account_id }) => ({ ...shown, operator: true, account_id, hash: newHash(), scopes: ['usage'] }),
      'created',
    ],
    ['update_key', ({ key_hash, key_id }) => ({ key_hash, key_id, fields: {} }), 'allowed'],
    ['update_key', ({ key_id }) => ({ operator: true, key_id, fields: {} }), 'allowed'],
    [
      'rotate_key',
      ({ key_hash, key_id }) => ({ ...stored, key_hash, key_id, hash: newHash(), overlap_s: 9 }),
      'created',
    ],
    ['revoke_key', ({ key_hash, key_id }) => ({ key_hash, key_id }), 'revoked'],
    ['leak_key', ({ key_hash }) => ({ key_hash }), 'revoked'],
    ['update_account', ({ account_id }) => ({ operator: true, account_id, fields: {} }), 'allowed'],
  ])('%s %#', async (name, item, wanted) => {
    const [a, b] = await newPayers()
    const [low, high] = BigInt(a!.account_id) < BigInt(b!.account_id) ? [a!, b!] : [b!, a!]
    const decisions = await callBehindLock(
      low.account_id,
      name,
      [item(high), item(low)],
      (sql) => sql`select from accounts where id = ${high.account_id} for update nowait`,
    )
    expect(decisions).toEqual([wanted, wanted])
  })
})

describe('a pass for two items locks the accounts of both at once, the lower first', () => {
  const since = (months: number) => `date_trunc('month', clock_timestamp(), 'UTC') - interval '${months} months'`
  test.each([
    [
      'cut_invoices',
      'cut',
      (id: string, months: number) => `update accounts set invoiced_until = ${since(months)} where id = ${id}`,
    ],
    [
      'collect_metering',
      'collected',
      (id: string, months: number) => `insert into stripe_metering values (${id}, 0, ${since(months)}, 'cus_${id}')`,
    ],
  ] as const)('%s', async (name, done, makeDue) => {
    const [a, b] = await newPayers()
    const [low, high] = BigInt(a!.account_id) < BigInt(b!.account_id) ? [a!, b!] : [b!, a!]
    await db.sql.unsafe(makeDue(low.account_id, 1))
    await db.sql.unsafe(makeDue(high.account_id, 2)) // due for longer, and so of the first item
    const item = { count_max: 1, ...(name === 'collect_metering' && { entries_max: 10 }) }
    const decisions = await callBehindLock(
      low.account_id,
      name,
      [item, item],
      (sql) => sql`select from accounts where id = ${high.account_id} for update nowait`,
    )
    expect(decisions).toEqual([done, done])
  })
})

describe('a key that is revoked while its call waits for the account', () => {
  test.each<[FunctionName, (payer: Payer) => object]>([
    ['create_key', ({ key_hash }) => ({ ...shown, key_hash, hash: newHash() })],
    ['update_key', ({ key_hash, key_id }) => ({ key_hash, key_id, fields: {} })],
    ['rotate_key', ({ key_hash, key_id }) => ({ ...stored, key_hash, key_id, hash: newHash(), overlap_s: 9 })],
    ['revoke_key', ({ key_hash, key_id }) => ({ key_hash, key_id })],
  ])('does no %s', async (name, item) => {
    const payer = await newPayer(db, 0n, { scopes: ['admin'] })
    const { key_id } = await newKey(db, payer.account_id)
    const asked = item({ ...payer, key_id })
    const revoke = (sql: TestPostgres['sql']) =>
      sql`update keys set revoked_at = clock_timestamp() where id = ${payer.key_id}`
    expect(await callBehindLock(payer.account_id, name, [asked], revoke)).toEqual(['revoked_key'])
  })
})
