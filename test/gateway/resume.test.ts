// A stream with an Idempotency-Key that lost its client, from the outside: two gateways, and a node over a fake engine. Whoever may go on
// with it gets the rest, byte for byte, from either gateway; it is billed once; and nobody else gets anything of it.

import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type RunningGateway, startGateway } from '../../local/gateway.ts'
import { type Cut, drawnCut, eventsIn, lastIdIn, type Read, readUntilCut } from '../support/cut-off.ts'
import { draws } from '../support/draws.ts'
import { type FakeNode, startFakeNode } from '../support/fake-node.ts'
import {
  admin_key,
  bundledOnce,
  type Caller,
  callerOf,
  model,
  PATIENT,
  startTestGateway,
  type TestGateway,
} from '../support/gateway.ts'
import { HELD_MS, holdTimers } from '../support/held-timers.ts'
import { newSeed, TICKET_SEED } from '../support/keys.ts'
import { eventually } from '../support/patience.ts'
import { ledgerFindings } from '../support/postgres.ts'
import { seededRandom } from '../support/random.ts'

const CUT_STREAMS = draws('CUT_STREAMS', { few: 10, all: 500 })
const vars = { RESUME_MS_MAX: String(HELD_MS), REQUESTS_PER_MINUTE: '100000', TOKENS_PER_MINUTE: '100000000' }

let gateway: TestGateway
let second: RunningGateway
let caller: Caller

beforeAll(async () => {
  gateway = await startTestGateway(vars, undefined, undefined, { model: 'another' })
  second = await startGateway({
    port: 0,
    database_url: gateway.db.url,
    worker: await bundledOnce(),
    assets: {},
    ticket_seeds: TICKET_SEED,
    admin_key,
    vars: { ...PATIENT, ...vars },
    log: () => {},
  })
  caller = await gateway.newCaller('100000000000')
})
afterAll(async () => {
  await second?.stop()
  await gateway?.stop()
})

async function startNode(engine: object = { step_ms: 1, blocks: 4096 }): Promise<FakeNode> {
  const own = { node_id: `node-${randomUUID()}`, node_key: newSeed() }
  const node = await startFakeNode({ engine, config: { gateway_url: gateway.url, model_id: model, ...own } })
  await gateway.db.ask('create_node', { id: own.node_id, url: node.url, model, key: node.public_key, replace: true })
  await eventually(async () => {
    const [row] = await gateway.db
      .sql`select 1 from registered_nodes where id = ${own.node_id} and last_seen_at is not null`
    return row ?? null
  })
  return node
}

const messages = [{ role: 'user', content: 'sort' }]
const SHAPES: [path: string, body: object][] = [
  ['/v1/completions', { prompt: 'sort', max_tokens: 60, seed: 1, stream_options: { include_usage: true } }],
  ['/v1/chat/completions', { messages, max_tokens: 60, logprobs: true, top_logprobs: 2 }],
  ['/v1/chat/completions', { messages, max_tokens: 60, store: true, metadata: { a: 'b' } }],
  ['/v1/messages', { messages, max_tokens: 60 }],
  ['/v1/responses', { input: 'sort', max_output_tokens: 60 }],
]

interface Asking {
  path: string
  body: object
  key: string
}

interface How {
  last?: string | null
  cut?: Cut | undefined
  from?: { url: string }
  by?: Caller
}

const newAsking = (path: string, body: object): Asking => ({
  path,
  body: { model, stream: true, ...body },
  key: randomUUID(),
})

function ask({ path, body, key }: Asking, { last = null, cut, from = gateway, by = caller }: How = {}): Promise<Read> {
  const headers = {
    authorization: `Bearer ${by.api_key}`,
    'content-type': 'application/json',
    'idempotency-key': key,
    ...(last !== null && { 'last-event-id': last }),
  }
  return readUntilCut(from.url + path, { headers, body: JSON.stringify(body) }, cut)
}

const codeOf = ({ text }: Read) => (JSON.parse(text) as { error: { code: string } }).error.code
const LONG = { prompt: 'sort', max_tokens: 900, ignore_eos: true }
const AFTER_SOME: Cut = { bytes: 2000, leave: 'destroy' }

test(`${CUT_STREAMS} streams that are cut at drawn bytes and gone on with, at either gateway, are whole and billed once`, async () => {
  const random = seededRandom()
  await startNode()
  const read = async (i: number) => {
    const [path, body] = SHAPES[i % SHAPES.length]!
    const asking = newAsking(path, body)
    const events: string[] = []
    let [tries, request_id] = [0, '']
    for (let is_whole = false; !is_whole; tries += 1) {
      const last = lastIdIn(events.join(''))
      const cut = tries < 3 ? drawnCut(random, 6000) : undefined
      // Of one that has nothing yet the first may not have come to a gateway, or not be known to have gone: so it says that it has nothing.
      const answer = await ask(asking, {
        last: last ?? (tries > 0 ? '' : null),
        cut,
        from: random.pick([gateway, second]),
      })
      if (answer.status === 409 && codeOf(answer) === 'idempotency_running') continue // it is just being begun, or settled
      expect(answer.status, answer.text).toBe(200)
      request_id = String(answer.headers['x-request-id'])
      events.push(...eventsIn(answer.text))
      is_whole = answer.is_whole
    }
    const kept = await ask(asking)
    expect(kept.headers).toMatchObject({ 'idempotency-replayed': 'true', 'x-request-id': request_id })
    expect(eventsIn(kept.text)).toEqual(events)
    expect(events.map((event) => lastIdIn(event))).toEqual(events.map((_, number) => String(number)))
    expect(eventsIn((await ask(asking, { last: '4' })).text)).toEqual(events.slice(5))
    return request_id
  }
  const ids = await Promise.all(Array.from({ length: CUT_STREAMS }, (_, i) => read(i)))
  const used = await gateway.db
    .sql`select request_id, outcome from usage where request_id = any (${`{${ids}}`}::uuid[])`
  expect(used.map(({ request_id }) => request_id).sort()).toEqual(ids.toSorted())
  expect(used.every(({ outcome }) => ['stop', 'length'].includes(outcome))).toBe(true)
  const entries = await gateway.db.sql`select 1 from entries where request_id = any (${`{${ids}}`}::uuid[])`
  expect(entries).toHaveLength(CUT_STREAMS)
  expect(await ledgerFindings(gateway.db.sql, [caller.account_id])).toEqual([])
})

test('the same Idempotency-Key alone gets all of it again, once its client is known to have gone', async () => {
  await startNode()
  const asking = newAsking('/v1/completions', { ...LONG, max_tokens: 300 })
  const first = await ask(asking, { cut: AFTER_SOME })
  const { value } = await eventually(async () => {
    const again = await ask(asking, { from: second })
    return again.status === 409 ? null : again
  })
  expect(value.headers).toMatchObject({ 'idempotency-replayed': 'true', 'x-request-id': first.headers['x-request-id'] })
  const events = eventsIn(value.text)
  expect(events.slice(0, eventsIn(first.text).length)).toEqual(eventsIn(first.text))
  expect(events.at(-1)).toContain('[DONE]')
})

test('a stream that waits for its client is the key’s own that began it, and is lost when nobody came', async () => {
  const endWaits = holdTimers()
  const node = await startNode()
  const asking = newAsking('/v1/completions', LONG)
  const { text, headers } = await ask(asking, { cut: AFTER_SOME })
  const last = lastIdIn(text)!
  const made = await gateway.admin('/admin/keys', { account_id: caller.account_id, name: 'another' })
  const { id, key } = (await made.json()) as { id: string; key: string }
  const sibling = callerOf(gateway.url, { account_id: caller.account_id, key_id: id, api_key: key })
  const [theirs, strangers, changed] = [
    await ask(asking, { last, by: sibling }),
    await ask(asking, { last, by: await gateway.newCaller() }),
    await ask({ ...asking, body: { ...asking.body, max_tokens: 899 } }, { last }),
  ]
  expect([theirs.status, codeOf(theirs)]).toEqual([409, 'idempotency_running'])
  expect([strangers.status, codeOf(strangers)]).toEqual([404, 'stream_not_found'])
  expect([changed.status, codeOf(changed)]).toEqual([422, 'idempotency_mismatch'])
  await eventually(async () => ((await ask(asking, { cut: AFTER_SOME })).status === 200 ? true : null))
  await eventually(async () => {
    endWaits() // of those that began to wait since, too
    const { running, waiting } = await node.status()
    return running + waiting === 0 ? true : null
  })
  const { value: lost } = await eventually(async () => {
    const answer = await ask(asking, { last })
    return codeOf(answer) === 'idempotency_running' ? null : answer // until its end is settled
  })
  expect([lost.status, codeOf(lost), lost.headers['x-should-retry']]).toEqual([409, 'idempotency_lost', 'false'])
  const [used] = await gateway.db.sql`select * from usage where request_id = ${String(headers['x-request-id'])}`
  expect(used).toMatchObject({ outcome: 'client_gone' })
  expect(Number(used!.completion_tokens)).toBeLessThanOrEqual(Number(used!.delivered_tokens) + 8)
})

test('what is no place in a stream, or of no stream, is refused', async () => {
  const asking = newAsking('/v1/completions', LONG)
  for (const last of ['-1', 'x', '1.5', '1234567890']) {
    const { status, text } = await ask(asking, { last })
    expect([status, JSON.parse(text).error.param]).toEqual([400, 'Last-Event-ID'])
  }
  const whole = await ask({ ...asking, body: { ...asking.body, stream: false } }, { last: '3' })
  expect([whole.status, codeOf(whole)]).toEqual([400, 'invalid_value'])
  const keyless = await caller.post(asking.path, asking.body, { headers: { 'last-event-id': '3' } })
  expect(keyless.status).toBe(400)
  const background = { model, input: 'x', background: true, stream: true }
  const job = await caller.post('/v1/responses', background, { headers: { 'last-event-id': '3' } })
  expect(job.status).toBe(400)
  const unknown = await ask(asking, { last: '3' })
  expect([unknown.status, codeOf(unknown)]).toEqual([404, 'stream_not_found'])
})
