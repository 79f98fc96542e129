// Health tells the truth: whatever the database refuses of what the gateway needs makes it not ready, and not dead; and a duty of the cron
// whose statement is refused has failed.
//   REFUSALS=all npm test -- test/gateway/health.test.ts

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { loginName } from '../../local/gateway-login.ts'
import { startTestGateway, type TestGateway } from '../support/gateway.ts'
import { seededRandom } from '../support/random.ts'

let gateway: TestGateway

beforeAll(async () => {
  gateway = await startTestGateway({ DATABASE_MS_MAX: '3000' })
})
afterAll(() => gateway?.stop())

const [login, reader] = ['ziya_gateway', 'ziya_reader'].map((role) => loginName(role, 'postgres'))

/** What is done to the database, and undone. */
const refusals: [string, string, string][] = [
  ['the gateway’s login is locked', `alter role ${login} nologin`, `alter role ${login} login`],
  ['the reader’s login is locked', `alter role ${reader} nologin`, `alter role ${reader} login`],
  ['the gateway is no member any more', `revoke ziya_gateway from ${login}`, `grant ziya_gateway to ${login}`],
  ['the reader is no member any more', `revoke ziya_reader from ${reader}`, `grant ziya_reader to ${reader}`],
  [
    'one function may not be called',
    'revoke execute on function api.settle(jsonb) from ziya_gateway',
    'grant execute on function api.settle(jsonb) to ziya_gateway',
  ],
  [
    'one function is not there',
    'alter function api.void(jsonb) rename to void_too',
    'alter function api.void_too(jsonb) rename to void',
  ],
  ['the schema is closed', 'revoke usage on schema api from ziya_gateway', 'grant usage on schema api to ziya_gateway'],
  ['a table is not there', 'alter table keys rename to keys_too', 'alter table keys_too rename to keys'],
  [
    'a function of the ledger is not there',
    'alter function ledger.lock_accounts(bigint[]) rename to lock_too',
    'alter function ledger.lock_too(bigint[]) rename to lock_accounts',
  ],
  ['the views are not there', 'alter schema read rename to read_too', 'alter schema read_too rename to read'],
  [
    'it can only be read',
    'alter database postgres set default_transaction_read_only = on',
    'alter database postgres reset default_transaction_read_only',
  ],
]
const random = seededRandom()
const drawn = process.env.REFUSALS === 'all' ? refusals : Array.from({ length: 3 }, () => random.pick(refusals))

/** What a login may, and what its sessions start with, holds from its next connection on. */
async function run(statement: string): Promise<void> {
  await gateway.db.sql.unsafe(`set default_transaction_read_only = off; ${statement}`)
  await gateway.db.sql`select pg_terminate_backend(pid) from pg_stat_activity where usename like 'ziya_%'`
}

const statusOf = async (path: string) => (await fetch(gateway.url + path)).status

describe.each([...new Set(drawn)])('%s:', (_, refuse, allow) => {
  test('not ready, and alive; ready again afterwards', async () => {
    await expect.poll(() => statusOf('/readyz'), { timeout: 20_000 }).toBe(200)
    await run(refuse)
    try {
      await expect.poll(() => statusOf('/readyz'), { timeout: 20_000 }).toBe(503)
      const answer = await fetch(`${gateway.url}/healthz`)
      expect([answer.status, await answer.json()]).toEqual([
        503,
        { status: 'unavailable', database: 'unavailable', nodes: {} },
      ])
      expect(await statusOf('/livez')).toBe(200)
    } finally {
      await run(allow)
    }
    await expect.poll(() => statusOf('/readyz'), { timeout: 20_000 }).toBe(200)
  })
})

const duties = [
  'expire',
  'expire_due_grants',
  'add_usage_months',
  'forget_requests',
  'cut_invoices',
  'sum_invoices',
  'reconcile',
]

test('a duty whose statement is refused has failed, and the run with it', async () => {
  const name = random.pick(duties)
  await gateway.runScheduled()
  await run(`revoke execute on function api.${name}(jsonb) from ziya_gateway`)
  await expect(gateway.runScheduled(), name).rejects.toThrow('the scheduled run failed')
  await run(`grant execute on function api.${name}(jsonb) to ziya_gateway`)
  await gateway.runScheduled()
})

test('a ready gateway names the nodes that serve each model', async () => {
  await gateway.node.sync()
  await expect
    .poll(async () => (await fetch(`${gateway.url}/readyz`)).json())
    .toEqual({
      status: 'ok',
      database: 'ok',
      nodes: { 'ziya-coding-mini': 1 },
    })
})
