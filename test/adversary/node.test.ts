// One who holds a node's credential, and has taken over the machine it is on. What it may do: answer the requests it was given, and
// report what they took, up to what was reserved for them. Each row is something else that it tries: what comes of it, and where an
// operator sees it. Nobody else is charged, read or asked by any of it.

import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Signer } from '../../contract/ed25519.ts'
import type { SyncRequest, UsageRecord } from '../../contract/internal/sync.ts'
import { signTicket, type Ticket, verifyTicket } from '../../contract/internal/ticket.ts'
import { type CannedNode, startCannedNode } from '../support/canned-node.ts'
import { startFakeNode } from '../support/fake-node.ts'
import { type Caller, errorOf, model, startTestGateway, type TestGateway } from '../support/gateway.ts'
import { bodySha256, generate } from '../support/generate.ts'
import { issuer, newSigner, otherSigner } from '../support/keys.ts'
import { eventually } from '../support/patience.ts'
import { ledgerFindings } from '../support/postgres.ts'

const THIEFS_MODEL = 'Ziya-Coding-34B-v1.0'

let gateway: TestGateway
let thief: CannedNode
let customer: Caller // whose requests the thief is given
let victim: Caller // whose requests another node is given
let stolen: Stolen // what the thief knows of one of its own requests
let victims: Stolen // and of one of the other node's

interface Stolen {
  signed: string
  ticket: Ticket
  record: UsageRecord
}

beforeAll(async () => {
  gateway = await startTestGateway()
  const own = { node_id: 'thief', model: THIEFS_MODEL, sync: false }
  thief = await startCannedNode({ ...gateway.node_options, ...own })
  customer = await gateway.newCaller('1000000000000')
  victim = await gateway.newCaller('1000000')
  await run(victim, model)
  const { value: record } = await eventually(async () => gateway.node.records.at(-1) ?? null)
  victims = { signed: record.ticket, ticket: gateway.node.accepted.at(-1)!.ticket, record }
  // From here on nothing of the victim's own is under way, so that whatever changes for them is the thief's doing.
  await eventually(async () => gateway.node.outcomes.get(record.request_id) ?? null)
  expect(await underWay(victim)).toBe(0)
})
afterAll(async () => {
  await thief?.stop()
  await gateway?.stop()
})

beforeEach(async () => {
  await gateway.db.sql`update registered_nodes set drained_at = null where id = 'thief'`
  expect((await thief.report([])).status).toBe(200)
  await run(customer, THIEFS_MODEL)
  const { signed, ticket } = thief.accepted.at(-1)!
  stolen = { signed, ticket, record: thief.records.at(-1)! }
})

async function run(caller: Caller, of: string): Promise<void> {
  expect((await caller.post('/v1/completions', { model: of, prompt: 'x', max_tokens: 10 })).status).toBe(200)
}

/** A ticket's text with its payload changed and signed by a key that the thief has. */
function forged(changes: Partial<Ticket>, key: Signer): Promise<string> {
  return signTicket({ ...stolen.ticket, ...changes }, key)
}

async function settle(record: object): Promise<string> {
  const answer = await thief.report([{ ...stolen.record, ...record }])
  const { settled } = (await answer.json()) as { settled: { outcome: string }[] }
  return settled[0]!.outcome
}

/** Sends a report of the thief's, changed and signed with its own key unless another is given. */
async function report(changes: object, key = thief.key): Promise<string> {
  const next = thief.nextReport()
  const merged = { ...next, ...changes, node: { ...next.node, ...(changes as Partial<SyncRequest>).node } }
  return codeOf(await thief.send(JSON.stringify(merged), key))
}

async function codeOf(response: Response): Promise<string> {
  return response.ok ? 'taken' : (await errorOf(response)).code
}

type Where = { anomaly: string } | { refusal: [node: string, reason: string] } | 'the answer alone'

/** How often an operator sees it so far. */
async function seen(where: Where): Promise<number> {
  if (where === 'the answer alone') return 0
  const { sql } = gateway.db
  const [row] =
    'anomaly' in where
      ? await sql`select count(*)::int as count from anomalies where kind = ${where.anomaly}`
      : await sql`select coalesce(sum(count), 0)::int as count from node_refusals
          where node_id = ${where.refusal[0]} and reason = ${where.refusal[1]}`
  return row!.count
}

const own = (reason: string): Where => ({ refusal: ['thief', reason] })

/** What it tries, what the gateway says to it, and where it is seen. */
const attempts: [name: string, attempt: () => Promise<string>, says: string, where: Where][] = [
  // to be paid by somebody, with tickets of its own making
  [
    'a ticket signed with its own key',
    async () => settle({ ticket: await forged({}, thief.key) }),
    'rejected',
    { anomaly: 'bad_ticket' },
  ],
  [
    'a ticket signed with its own key in the name of the gateway’s',
    async () => settle({ ticket: await forged({}, { ...thief.key, kid: issuer.keys[0]!.kid }) }),
    'rejected',
    { anomaly: 'bad_ticket' },
  ],
  [
    'the claim of another’s ticket in its own',
    async () =>
      settle({ ticket: await forged({ sealed: victims.ticket.sealed }, { ...thief.key, kid: issuer.keys[0]!.kid }) }),
    'rejected',
    { anomaly: 'bad_ticket' },
  ],
  [
    'the payload of another’s ticket under the signature of its own',
    async () => {
      const [kid, , signature] = stolen.signed.split('.')
      return settle({ ticket: [kid, victims.signed.split('.')[1], signature].join('.') })
    },
    'rejected',
    { anomaly: 'bad_ticket' },
  ],
  ['no ticket', async () => settle({ ticket: '' }), 'rejected', { anomaly: 'bad_ticket' }],
  [
    'its ticket for a request that never was',
    async () => settle({ request_id: randomUUID() }),
    'rejected',
    { anomaly: 'bad_ticket' },
  ],
  [
    'its ticket for the victim’s request',
    async () => settle({ request_id: victims.record.request_id }),
    'rejected',
    { anomaly: 'bad_ticket' },
  ],
  ['its ticket for another attempt', async () => settle({ attempt: 2 }), 'rejected', { anomaly: 'bad_ticket' }],
  ['the ticket that another node was given', async () => settle(victims.record), 'rejected', { anomaly: 'other_node' }],
  [
    'the same with more tokens',
    async () => settle({ ...victims.record, completion_tokens: 10 }),
    'rejected',
    { anomaly: 'other_node' },
  ],
  // to be paid more than was reserved
  ['a billion tokens', async () => settle({ completion_tokens: 1e9 }), 'posted', { anomaly: 'above_reservation' }],
  [
    'as many tokens as can be said',
    async () => settle({ completion_tokens: Number.MAX_SAFE_INTEGER }),
    'posted',
    { anomaly: 'above_reservation' },
  ],
  [
    'more cached tokens than the prompt has',
    async () => settle({ cached_tokens: 99 }),
    'rejected',
    { anomaly: 'refused' },
  ],
  ['a time that no calendar has', async () => settle({ started_unix_ms: 1e300 }), 'rejected', { anomaly: 'refused' }],
  [
    'the same request twice, the second time for more',
    async () => {
      await settle({})
      return settle({ completion_tokens: 9 })
    },
    'conflict',
    { anomaly: 'conflict' },
  ],
  [
    'negative tokens',
    () => report({ records: [{ ...stolen.record, completion_tokens: -5 }] }),
    'invalid_value',
    'the answer alone',
  ],
  [
    'half a token',
    () => report({ records: [{ ...stolen.record, prompt_tokens: 0.5 }] }),
    'invalid_value',
    'the answer alone',
  ],
  [
    'a text that the database cannot store',
    () => report({ records: [{ ...stolen.record, ticket: 'a\0b' }] }),
    'invalid_value',
    'the answer alone',
  ],
  // to speak as another
  [
    'a report as the other node',
    () => report({ node: { node_id: 'canned', url: gateway.node.url, model } }),
    'unknown_node_key',
    { refusal: ['canned', 'unknown_node_key'] },
  ],
  [
    'a report as a node that is not registered',
    () => report({ node: { node_id: 'node-1' } }),
    'unknown_node',
    { refusal: ['', 'unknown_node'] },
  ],
  [
    'a report with a key of its own making',
    async () => report({}, await newSigner()),
    'unknown_node_key',
    own('unknown_node_key'),
  ],
  [
    'a report that it signs as if with the other node’s key',
    () => report({}, { ...thief.key, x: gateway.node.key.x }),
    'invalid_api_key',
    'the answer alone',
  ],
  [
    'a report that was changed after it was signed',
    async () => {
      const body = JSON.stringify(thief.nextReport())
      return codeOf(
        await thief.send(body.replace('"running":0', '"running":1'), {
          ...thief.key,
          sign: (purpose) => thief.key.sign(purpose, body),
        }),
      )
    },
    'invalid_api_key',
    'the answer alone',
  ],
  [
    'what it signs for another purpose',
    () => report({}, { ...thief.key, sign: (_, text) => thief.key.sign('answer', text) }),
    'invalid_api_key',
    'the answer alone',
  ],
  // to be given the prompts of others
  ['another address', () => report({ node: { url: 'http://thief.example' } }), 'other_node_url', own('other_node_url')],
  [
    'the address of another node',
    () => report({ node: { url: gateway.node.url } }),
    'other_node_url',
    own('other_node_url'),
  ],
  [
    'its address with a path',
    () => report({ node: { url: `${thief.url}/proxy` } }),
    'other_node_url',
    own('other_node_url'),
  ],
  ['another model', () => report({ node: { model } }), 'other_node_model', own('other_node_model')],
  // to be alive when it is not, or twice
  [
    'a report that was recorded',
    async () => {
      const body = JSON.stringify(thief.nextReport())
      await thief.send(body)
      return codeOf(await thief.send(body))
    },
    'repeated_report',
    own('repeated_report'),
  ],
  ['an earlier number', () => report({ sequence: 0 }), 'repeated_report', own('repeated_report')],
  [
    'a report of a minute ago',
    () => report({ sent_unix_ms: Date.now() - 60_000 }),
    'stale_report',
    own('stale_report'),
  ],
  [
    'a report of a minute ahead',
    () => report({ sent_unix_ms: Date.now() + 60_000 }),
    'stale_report',
    own('stale_report'),
  ],
  [
    'a second process elsewhere',
    () => report({ boot: { id: randomUUID(), folder_id: randomUUID(), number: 9 } }),
    'second_process',
    own('second_process'),
  ],
  [
    'a second process on a copy of its folder',
    () => report({ boot: { ...thief.boot, id: randomUUID() } }),
    'second_process',
    own('second_process'),
  ],
  [
    'a process before this one',
    () => report({ boot: { ...thief.boot, id: randomUUID(), number: 0 } }),
    'second_process',
    own('second_process'),
  ],
  // to do harm to the gateway
  ['what is no JSON', async () => codeOf(await thief.send('{')), 'invalid_json', 'the answer alone'],
  [
    'blocks that no machine has',
    () => report({ node: { blocks_total: 2 ** 40 } }),
    'invalid_value',
    'the answer alone',
  ],
  [
    'more running requests than a report may name',
    () => report({ running_ids: Array(501).fill(randomUUID()) }),
    'invalid_value',
    'the answer alone',
  ],
  [
    'its credential as an operator’s',
    async () =>
      codeOf(await fetch(`${gateway.url}/admin/nodes`, { headers: { authorization: `Bearer ${thief.key.x}` } })),
    'invalid_api_key',
    'the answer alone',
  ],
]

describe('at the gateway, one with a node’s credential tries', () => {
  test.each(attempts)('%s', async (_, attempt, says, where) => {
    const before = await books()
    const seen_before = await seen(where)
    expect(await attempt()).toBe(says)
    if (where !== 'the answer alone') expect(await seen(where)).toBe(seen_before + 1)
    const after = await books()
    expect(after.victim).toEqual(before.victim)
    expect(after.customer - before.customer).toBeLessThanOrEqual(await reserved())
    expect(await ledgerFindings(gateway.db.sql, [victim.account_id, customer.account_id])).toEqual([])
  })

  test('the prompts of others: whatever it said, it was asked for its own model alone', async () => {
    expect(new Set(thief.accepted.map(({ request }) => request.model))).toEqual(new Set([THIEFS_MODEL]))
  })

  test('to be alive by a recorded report once it is dead', async () => {
    const recorded = JSON.stringify(thief.nextReport())
    await thief.send(recorded)
    await gateway.db.sql`update registered_nodes set last_seen_at = last_seen_at - interval '1 hour' where id = 'thief'`
    expect(await codeOf(await thief.send(recorded))).toBe('repeated_report')
    const { nodes } = (await (await fetch(`${gateway.url}/healthz`)).json()) as { nodes: Record<string, number> }
    expect(nodes[THIEFS_MODEL]).toBeUndefined()
  })

  test('to learn which requests of others are stopped', async () => {
    gateway.node.options.chunk_ms = 500
    const doomed = await gateway.newCaller('1000000')
    const running = doomed.post('/v1/completions', { model, prompt: 'x', max_tokens: 10, stream: true })
    await running
    await gateway.admin(`/admin/keys/${doomed.key_id}`, undefined, 'DELETE')
    const answer = (await (await thief.report([])).json()) as { stop: string[] }
    expect(answer.stop).toEqual([])
    await (await running).text()
    gateway.node.calm()
  })

  test('to hide the stopped requests of others behind its own', async () => {
    const { sql } = gateway.db
    await sql`insert into reservations (request_id, account_id, key_id, model, price_version, amount_nanousd, attempt, state, expires_at, stopped_at)
      select gen_random_uuid(), ${customer.account_id}, ${customer.key_id}, ${THIEFS_MODEL}, 1, 0, 1, 'pending', now() + interval '1 hour', now() - interval '1 hour'
      from generate_series(1, 1500)`
    gateway.node.options.chunk_ms = 200
    gateway.node.options.completion_tokens = 50
    const doomed = await gateway.newCaller('1000000')
    const stream = await doomed.post('/v1/completions', { model, prompt: 'x', max_tokens: 50, stream: true })
    await gateway.admin(`/admin/keys/${doomed.key_id}`, undefined, 'DELETE')
    expect(await stream.text()).toContain('request_revoked')
    gateway.node.calm()
    await sql`update reservations set state = 'voided', closed_at = now() where amount_nanousd = 0 and state = 'pending'`
  })

  test('to fill the ledger with what nobody can use: it is counted, and a thousand an hour are kept', async () => {
    const where = own('bad_ticket')
    const before = await seen(where)
    for (let i = 0; i < 3; i += 1) {
      const records = Array.from({ length: 400 }, () => ({ ...stolen.record, ticket: 'x', request_id: randomUUID() }))
      expect((await thief.report(records)).status).toBe(200)
    }
    expect(await seen(where)).toBe(before + 1200)
    const kept = await gateway.db.sql`
      select count(*)::int as count from anomalies where kind = 'bad_ticket' group by date_trunc('hour', created_at)`
    for (const { count } of kept) expect(count).toBeLessThanOrEqual(1000) // this may run as one hour becomes the next
    expect(kept.length).toBeGreaterThan(0)
  })

  test('to go on once it is drained, its key replaced, or it is removed', async () => {
    const change = async (body: object | undefined, method: string, path = '') =>
      expect((await gateway.admin(`/admin/nodes/thief${path}`, body, method)).ok).toBe(true)
    await change({ drain: true }, 'PATCH')
    const refused = await customer.post('/v1/completions', { model: THIEFS_MODEL, prompt: 'x' })
    expect(await errorOf(refused)).toMatchObject({ status: 503, code: 'model_unavailable' })
    expect(await settle({})).toBe('posted') // what it was given before is still settled
    const next = await newSigner()
    await change({ public_key: next.x, overlap_s: 60 }, 'POST', '/rotate')
    expect(await report({})).toBe('taken')
    expect(await report({}, next)).toBe('taken')
    await change({ public_key: (await newSigner()).x }, 'POST', '/rotate')
    expect(await report({})).toBe('unknown_node_key')
    expect(await report({}, next)).toBe('unknown_node_key')
    await change(undefined, 'DELETE')
    expect(await report({})).toBe('unknown_node')
    const headers = { authorization: `Bearer ${gateway.metrics_token}` }
    const metrics = await (await fetch(`${gateway.url}/metrics`, { headers })).text()
    const audit = await gateway.db.sql`select action from audit where subject = 'node thief' order by id`
    expect(audit.map(({ action }) => action)).toEqual([
      'update_node',
      'rotate_node_key',
      'rotate_node_key',
      'remove_node',
    ])
    expect(metrics).toMatch(/gateway_node_refusals\{node="thief",reason="unknown_node_key"\} \d+\n/)
    expect(metrics).toMatch(/gateway_node_refusals\{node="",reason="unknown_node"\} \d+\n/)
    await gateway.node_options.register({ id: 'thief', url: thief.url, model: THIEFS_MODEL, key: thief.key.x })
  })
})

/** What was reserved for the request that the thief was given. */
async function reserved(): Promise<bigint> {
  const [row] = await gateway.db
    .sql`select amount_nanousd from reservations where request_id = ${stolen.ticket.request_id}`
  return BigInt(row!.amount_nanousd)
}

async function underWay({ account_id }: Caller): Promise<number> {
  const [row] = await gateway.db.sql`
    select count(*)::int as count from reservations where account_id = ${account_id} and state = 'pending'`
  return row!.count
}

async function books(): Promise<{ victim: bigint; customer: bigint }> {
  const rows = await gateway.db.sql`select id, debited_nanousd from accounts
    where id in (${victim.account_id}, ${customer.account_id}) order by id`
  const of = ({ account_id }: Caller) => BigInt(rows.find(({ id }) => String(id) === account_id)!.debited_nanousd)
  return { victim: of(victim), customer: of(customer) }
}

describe('of what it has it reads', () => {
  test('no account, no key and no amount in a ticket', async () => {
    const ticket = (await verifyTicket(stolen.signed, issuer.keys))!
    expect(Object.keys(ticket).filter((name) => /account|key|nanousd|price/.test(name))).toEqual([])
    expect(Object.values(ticket)).not.toContain(customer.account_id)
  })

  test('nothing but public keys in the answer to a report', async () => {
    const answer = (await (await thief.report([])).json()) as object
    expect(Object.keys(answer).sort()).toEqual(['ledger_id', 'settled', 'stop', 'ticket_keys'])
    expect(answer).toMatchObject({ ticket_keys: issuer.keys })
  })
})

describe('at another node, one with a node’s credential tries', () => {
  const another = 'other-node'
  test.each<[string, { ticket?: Partial<Ticket>; signer?: Signer }, number]>([
    ['a ticket that it was given itself', { ticket: { node_id: 'thief' } }, 401],
    ['a ticket with another prompt', { ticket: { body_sha256: bodySha256('another') } }, 401],
    ['a ticket for another request', { ticket: { request_id: randomUUID() } }, 401],
    ['a ticket that has expired', { ticket: { expires_unix_ms: Date.now() - 1 } }, 401],
    ['a ticket for another model', { ticket: { model: 'another' } }, 401],
    ['a ticket of its own making', { signer: otherSigner }, 401],
    ['more tokens than a ticket is for', { ticket: { request_output_tokens_max: 1 } }, 400],
  ])('%s', async (_, options, status) => {
    const node = await startFakeNode({ config: { node_id: another } })
    const ticket = { node_id: another, ...options.ticket }
    const refused = await generate(node.url, {}, { ...options, ticket })
    expect(refused.status).toBe(status)
    expect(await node.status()).toMatchObject({ running: 0, waiting: 0 })
    expect((await generate(node.url, {}, { ticket: { node_id: another } })).status).toBe(200)
  })

  test('a ticket twice, also after the node was started again', async () => {
    const request_id = randomUUID()
    const again = { ticket: { node_id: another } }
    const first = await startFakeNode({ config: { node_id: another } })
    expect((await generate(first.url, { request_id }, again)).status).toBe(200)
    expect((await generate(first.url, { request_id }, again)).status).toBe(401)
    await first.drain()
    const second = await startFakeNode({ config: { node_id: another, data_dir: first.data_dir } })
    expect((await generate(second.url, { request_id }, again)).status).toBe(401)
  })
})
