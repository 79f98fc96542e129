// What is admitted, billed and shown, over HTTP against real workerd and a real Postgres.

import { randomUUID } from 'node:crypto'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { ticketIssuer } from '../../contract/internal/ticket.ts'
import { newGate } from '../support/gate.ts'
import { type Caller, errorOf, model, startTestGateway, type TestGateway } from '../support/gateway.ts'
import { newSigner, OTHER_SEED, reissued } from '../support/keys.ts'
import { ledgerFindings } from '../support/postgres.ts'
import { eventually } from '../support/stack.ts'

let gateway: TestGateway

beforeAll(async () => {
  gateway = await startTestGateway({ GENERATION_MS_MAX: '30000' })
})
afterAll(() => gateway?.stop())
afterEach(() => gateway.node.calm())

// One of these reserves (1 + 1 + 1) * 20 + 10 * 60 nano-USD.
const request = { model, prompt: 'x', max_tokens: 10 }
const RESERVED = 660n

interface Usage {
  request_id: string
  state: string
}

async function usageOf(caller: Caller, id: string | null): Promise<Usage & Record<string, unknown>> {
  return (await (await caller.get(`/v1/usage/${id}`)).json()) as never
}

function untilSettled(caller: Caller, id: string | null) {
  return eventually(async () => {
    const usage = await usageOf(caller, id)
    return usage.state === 'pending' ? null : usage
  })
}

async function balanceOf(caller: Caller): Promise<Record<string, string>> {
  return (await (await caller.get('/v1/balance')).json()) as never
}

test('of 64 requests at once, a balance for ten admits exactly ten, and is never below zero', async () => {
  const caller = await gateway.newCaller(String(10n * RESERVED + 59n))
  const gate = newGate() // none settles before all are decided
  gateway.node.options.before_answer = gate.pass
  const balances: bigint[] = []
  const watching = setInterval(async () => balances.push(BigInt((await balanceOf(caller)).available_nanousd!)), 100)
  let refused_count = 0
  const ask = async () => {
    const answer = await caller.post('/v1/completions', request)
    if (answer.status !== 200) refused_count++
    return answer
  }
  const asked = Array.from({ length: 64 }, ask)
  await eventually(async () => (refused_count >= 54 && balances.length > 0 ? true : null))
  gate.open()
  const answers = await Promise.all(asked)
  clearInterval(watching)
  const refused = answers.filter(({ status }) => status !== 200)
  expect(answers.length - refused.length).toBe(10)
  for (const answer of refused) {
    expect(answer.headers.get('x-should-retry')).toBe('false')
    expect(await errorOf(answer)).toMatchObject({ status: 429, code: 'insufficient_quota', type: 'insufficient_quota' })
  }
  expect(balances.length).toBeGreaterThan(0)
  expect(balances.every((balance) => balance >= 0n)).toBe(true)
  await eventually(async () => ((await balanceOf(caller)).pending_nanousd === '0' ? true : null))
  expect(await ledgerFindings(gateway.db.sql, [caller.account_id])).toEqual([])
})

test('a settled request shows its counts, its price version, its cost and its entry', async () => {
  const caller = await gateway.newCaller('1000000')
  const response = await caller.post('/v1/completions', request)
  const id = response.headers.get('x-request-id')
  const { value: usage } = await untilSettled(caller, id)
  expect(usage).toMatchObject({
    object: 'usage',
    request_id: id,
    model,
    state: 'posted',
    price_version: 1,
    prompt_tokens: 5,
    completion_tokens: 3,
    outcome: 'stop',
    reserved_nanousd: String(RESERVED),
    cost_nanousd: '280',
    entries: [{ kind: 'usage', amount_nanousd: '280' }],
  })
  expect(await balanceOf(caller)).toMatchObject({
    balance_nanousd: '999720',
    available_nanousd: '999720',
    debited_nanousd: '280',
    pending_nanousd: '0',
  })
})

test('a request in flight is pending and holds its ceiling', async () => {
  const caller = await gateway.newCaller('1000000')
  const gate = newGate()
  gateway.node.options.before_answer = gate.pass
  const running = caller.post('/v1/completions', request)
  const { value: list } = await eventually(async () => {
    const page = (await (await caller.get('/v1/usage')).json()) as { data: Usage[] }
    return page.data.length > 0 ? page.data : null
  })
  expect(list[0]).toMatchObject({ state: 'pending', cost_nanousd: null, entries: [] })
  expect(await balanceOf(caller)).toMatchObject({ pending_nanousd: String(RESERVED), balance_nanousd: '1000000' })
  gate.open()
  expect((await running).status).toBe(200)
})

test('usage is listed newest first, in pages', async () => {
  const caller = await gateway.newCaller('1000000')
  const ids: (string | null)[] = []
  for (let i = 0; i < 5; i += 1)
    ids.unshift((await caller.post('/v1/completions', request)).headers.get('x-request-id'))
  const page = async (query: string) =>
    (await (await caller.get(`/v1/usage?${query}`)).json()) as { data: Usage[]; has_more: boolean; last_id: string }
  const first = await page('limit=2')
  const second = await page(`limit=2&after=${first.last_id}`)
  const third = await page(`limit=2&after=${second.last_id}`)
  expect([first, second, third].flatMap(({ data }) => data.map(({ request_id }) => request_id))).toEqual(ids)
  expect([first.has_more, second.has_more, third.has_more]).toEqual([true, true, false])
})

test('another account’s request is the same 404 as a missing one', async () => {
  const [owner, stranger] = [await gateway.newCaller('1000000'), await gateway.newCaller('1000000')]
  const id = (await owner.post('/v1/completions', request)).headers.get('x-request-id')
  const others = await errorOf(await stranger.get(`/v1/usage/${id}`))
  const missing = await errorOf(await stranger.get(`/v1/usage/${randomUUID()}`))
  expect(others).toEqual(missing)
  expect(others.status).toBe(404)
  expect((await errorOf(await stranger.get(`/v1/usage?after=${id}`))).status).toBe(404)
})

describe('a report of a node', () => {
  const lastRecord = async () => {
    const caller = await gateway.newCaller('1000000')
    const id = (await caller.post('/v1/completions', request)).headers.get('x-request-id')
    await untilSettled(caller, id)
    return { caller, record: gateway.node.records.find(({ request_id }) => request_id === id)! }
  }
  const outcomeOf = async (response: Response) =>
    ((await response.json()) as { settled: { outcome: string }[] }).settled.map(({ outcome }) => outcome)

  const lastTicket = () => gateway.node.accepted.at(-1)!.signed
  /** Whatever was signed then may be of a reservation that was lost. */
  const beforeTheCrash = { issued_unix_ms: 0 }

  const anomaliesOf = async (request_id: string) => {
    const response = await gateway.admin(`/admin/anomalies?request_id=${request_id}`, undefined, 'GET')
    return ((await response.json()) as { data: object[] }).data
  }

  test('that comes again changes nothing', async () => {
    const { caller, record } = await lastRecord()
    const before = await balanceOf(caller)
    expect(await outcomeOf(await gateway.node.report([record, record]))).toEqual(['duplicate', 'duplicate'])
    expect(await balanceOf(caller)).toEqual(before)
  })

  test('with other counts than before is a conflict, and is not charged', async () => {
    const { caller, record } = await lastRecord()
    const before = await balanceOf(caller)
    expect(await outcomeOf(await gateway.node.report([{ ...record, completion_tokens: 9 }]))).toEqual(['conflict'])
    expect(await balanceOf(caller)).toEqual(before)
  })

  test('with a ticket that is not ours, or for another request, is rejected', async () => {
    const { record } = await lastRecord()
    const forged = await reissued(lastTicket(), { request_id: randomUUID() }, await ticketIssuer([OTHER_SEED]))
    const records = [
      { ...record, ticket: forged },
      { ...record, request_id: randomUUID() },
      { ...record, attempt: 2 },
      { ...record, ticket: 'x' },
    ]
    expect(await outcomeOf(await gateway.node.report(records))).toEqual(Array(4).fill('rejected'))
    expect(await anomaliesOf(record.request_id)).toMatchObject([
      { kind: 'bad_ticket', detail: { record: { ticket: 'x', completion_tokens: 3 } } },
      { kind: 'bad_ticket', detail: { record: { attempt: 2 } } },
      { kind: 'bad_ticket', detail: { record: { ticket: forged } } },
    ])
  })

  /** One that the database never takes: its ticket is ours, and names an account that does not exist. */
  const badRecord = async () => {
    const { record, caller } = await lastRecord()
    const request_id = randomUUID()
    const ticket = await reissued(lastTicket(), { request_id, account_id: '999999', ...beforeTheCrash })
    const bad = { ...record, request_id, ticket }
    return { record, caller, bad }
  }

  test('that the database refuses for good fails alone, and is kept whole for a person, once', async () => {
    const { record, caller, bad } = await badRecord()
    for (let i = 0; i < 2; i += 1)
      expect(await outcomeOf(await gateway.node.report([bad, record]))).toEqual(['rejected', 'duplicate'])
    const kept = { kind: 'refused', request_id: bad.request_id, account_id: '999999', node_id: 'canned' }
    const { ticket: _, ...counts } = bad
    expect(await anomaliesOf(bad.request_id)).toMatchObject([
      { ...kept, sqlstate: '23503', detail: { record: { ...counts, reserved_nanousd: String(RESERVED) } } },
    ])
    const metrics = await (
      await fetch(`${gateway.url}/metrics`, { headers: { authorization: `Bearer ${gateway.metrics_token}` } })
    ).text()
    expect(metrics).toContain('gateway_anomalies{kind="refused"} 1\n')
    expect(await ledgerFindings(gateway.db.sql, [caller.account_id])).toEqual([])
  })

  test.each(['settle', 'keep_unsettled'])('is to be sent again where %s is missing', async (name) => {
    const { bad } = await badRecord()
    await gateway.db.sql.unsafe(`alter function api.${name}(jsonb) rename to away`)
    expect(await outcomeOf(await gateway.node.report([bad]))).toEqual(['retry'])
    await gateway.db.sql.unsafe(`alter function api.away(jsonb) rename to ${name}`)
    expect(await anomaliesOf(bad.request_id)).toEqual([])
    expect(await outcomeOf(await gateway.node.report([bad]))).toEqual(['rejected'])
  })

  test('rebuilds a reservation that the database lost', async () => {
    const { record, caller } = await lastRecord()
    const request_id = randomUUID()
    const lost = { ...record, request_id, ticket: await reissued(lastTicket(), { request_id, ...beforeTheCrash }) }
    expect(await outcomeOf(await gateway.node.report([lost]))).toEqual(['late'])
    expect(await usageOf(caller, request_id)).toMatchObject({ state: 'expired', cost_nanousd: '280' })
  })

  test('that charges above its reservation is capped there', async () => {
    const { record, caller } = await lastRecord()
    const request_id = randomUUID()
    const ticket = await reissued(lastTicket(), { request_id, ...beforeTheCrash })
    await gateway.node.report([{ ...record, request_id, ticket, completion_tokens: 1_000_000_000 }])
    expect(await usageOf(caller, request_id)).toMatchObject({ cost_nanousd: String(RESERVED) })
  })

  test('that is not signed by a node is a 401', async () => {
    const response = await gateway.node.send(JSON.stringify(gateway.node.nextReport()), await newSigner())
    expect(await errorOf(response)).toMatchObject({ status: 401, code: 'unknown_node_key' })
  })
})

test('a reservation that no node reports on expires with the minute, and frees what it held', async () => {
  const caller = await gateway.newCaller('1000000')
  const gate = newGate()
  gateway.node.options.before_answer = gate.pass
  const running = caller.post('/v1/completions', request)
  const { sql } = gateway.db
  await eventually(async () => ((await balanceOf(caller)).pending_nanousd !== '0' ? true : null))
  await sql`update reservations set expires_at = clock_timestamp() - interval '1 second' where state = 'pending'`
  await gateway.runScheduled()
  expect(await balanceOf(caller)).toMatchObject({ pending_nanousd: '0', debited_nanousd: '0' })
  gate.open()
  const id = (await running).headers.get('x-request-id')
  const { value } = await eventually(async () => {
    const usage = await usageOf(caller, id)
    return usage.cost_nanousd ? usage : null
  })
  expect(value).toMatchObject({ state: 'expired', entries: [{ kind: 'late_usage' }] })
})

describe('the operator', () => {
  test('credits a reference once', async () => {
    const caller = await gateway.newCaller('0')
    const top_up = { account_id: caller.account_id, amount_nanousd: '5', reference: randomUUID() }
    const ids = []
    for (let i = 0; i < 2; i += 1)
      ids.push(((await (await gateway.admin('/admin/top-ups', top_up)).json()) as { id: string }).id)
    expect(ids[0]).toBe(ids[1])
    expect((await balanceOf(caller)).credited_nanousd).toBe('5')
    const other = await gateway.admin('/admin/top-ups', { ...top_up, amount_nanousd: '6' })
    expect(await errorOf(other)).toMatchObject({ status: 400, param: 'reference' })
  })

  test.each(['-1', '1.5', '1e3', '9223372036854775808', ''])('cannot credit %s', async (amount_nanousd) => {
    const response = await gateway.admin('/admin/top-ups', { account_id: '1', amount_nanousd, reference: 'r' })
    expect(await errorOf(response)).toMatchObject({ status: 400, param: 'amount_nanousd' })
  })

  test('is told where a credit would add up to more than can be counted', async () => {
    const { account_id } = await gateway.newCaller(String(2n ** 63n - 1n))
    const common = { account_id, amount_nanousd: '1', reference: randomUUID() }
    const asked = [
      await gateway.admin('/admin/top-ups', common),
      await gateway.admin('/admin/grants', { ...common, expires_at: '2099-01-01T00:00:00Z' }),
      await gateway.admin('/admin/adjustments', { ...common, direction: 'credit' }),
    ]
    const refused = { status: 400, code: 'uncountable', param: 'amount_nanousd' }
    for (const response of asked) expect(await errorOf(response)).toMatchObject(refused)
  })

  test('cannot credit, give a key to, or revoke what does not exist', async () => {
    const account_id = '999999999'
    const credit = await gateway.admin('/admin/top-ups', { account_id, amount_nanousd: '1', reference: randomUUID() })
    const key = await gateway.admin('/admin/keys', { account_id, name: 'k' })
    const revoked = await gateway.admin(`/admin/keys/${account_id}`, undefined, 'DELETE')
    expect([credit.status, key.status, revoked.status]).toEqual([404, 404, 404])
  })

  test('may name things with quotes and backslashes', async () => {
    const name = `O'Neil \\ "x"'; drop table accounts; --`
    const response = await gateway.admin('/admin/accounts', { name })
    expect(await response.json()).toMatchObject({ name })
  })
})

test('while the database is away it is a 503, and afterwards everything works again', async () => {
  const caller = await gateway.newCaller('1000000')
  const { sql } = gateway.db
  const kill = () =>
    sql`select pg_terminate_backend(pid) from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()`
  const asking: Promise<Response>[] = []
  for (let i = 0; i < 40; i += 1) {
    asking.push(caller.post('/v1/completions', request))
    if (i % 5 === 0) await kill().catch(() => {})
  }
  const answers = (await Promise.all(asking)).map(({ status }) => status)
  expect(answers.filter((status) => status !== 200 && status !== 503)).toEqual([])
  await eventually(async () => ((await caller.post('/v1/completions', request)).status === 200 ? true : null))
  await eventually(async () => ((await balanceOf(caller)).pending_nanousd === '0' ? true : null))
  expect(await ledgerFindings(sql, [caller.account_id])).toEqual([])
})
