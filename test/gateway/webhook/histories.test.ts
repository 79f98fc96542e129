// Events to receivers of every kind, by senders that are cut off at drawn steps and whose database loses questions and answers, on a clock
// that a test moves: nothing is lost, nothing is unsigned, an event has one id however often it comes, and the schedule is held.
//   EVENTS=10000 npm test -- test/gateway/webhook/histories.test.ts

import { randomUUID } from 'node:crypto'
import { Webhook } from 'standardwebhooks'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { newSecret } from '../../../gateway/webhook/secret.ts'
import { draws } from '../../support/draws.ts'
import { makeClockMovable, moveClock } from '../../support/movable-clock.ts'
import { newPayer, startTestPostgres, type TestPostgres } from '../../support/postgres.ts'
import { seededRandom } from '../../support/random.ts'
import type { Received } from '../../support/receiver.ts'
import { Sender, settings } from '../../support/webhook-sender.ts'
import { GOOD, RETRY_AFTER_S, SINKS, type Sink, type Sinks, startSinks } from '../../support/webhook-sinks.ts'

const EVENTS = draws('EVENTS', { few: 18, all: 1000 })
const EVENTS_OF_ONE = 50 // of one account, and so of one endpoint
// Those that are left alone between two attempts, which come one by one.
const RESTED: Sink[] = ['slow', 'throttled']
const EVENTS_OF_RESTED = 5
const DELAYS_S = [5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400]
const SPREAD_MS = 5 // of a clock that is read in two places

interface Told {
  account_id: string
  sink: Sink
  name: string
  endpoint_id: string
  secret: string
  /** Of its other endpoint, which hears when this one is disabled. */
  watch: { endpoint_id: string; secret: string }
  events: number
}

let db: TestPostgres
let sinks: Sinks
const random = seededRandom()

beforeAll(async () => {
  db = await startTestPostgres(makeClockMovable)
  sinks = await startSinks()
})
afterAll(async () => {
  await sinks?.stop()
  await db?.stop()
})

async function newEndpoint(key_hash: string, url: string, event_types: string[]) {
  const { shown: secret, stored } = await newSecret(settings(), 'hmac', null)
  const [made] = await db.ask('create_webhook_endpoint', {
    ...{ key_hash, created_by: randomUUID(), name: 'sink', url, event_types, signature_type: 'hmac' },
    ...stored,
  })
  return { endpoint_id: made!.endpoint.id, secret }
}

async function newAccount(sink: Sink, number: number): Promise<Told> {
  const { account_id, key_hash } = await newPayer(db, 0n, { scopes: ['webhooks'] })
  const name = String(number)
  const types = ['account.suspended', 'account.resumed']
  const watch = await newEndpoint(key_hash, sinks.urlOf('ok', `watch-${name}`), ['webhook_endpoint.disabled'])
  return { account_id, sink, name, ...(await newEndpoint(key_hash, sinks.urlOf(sink, name), types)), watch, events: 0 }
}

/** One event and no other, whatever of the call is lost: suspended and resumed in turn, asked twice now and then. */
async function tell(told: Told): Promise<void> {
  const name = told.events % 2 === 0 ? 'suspend_account' : 'resume_account'
  for (let asked = 0; asked < 1 + random.below(2); asked += 1)
    await db.ask(name, { operator: true, account_id: told.account_id })
  told.events += 1
}

let ahead_ms = 0
const now_ms = () => Date.now() + ahead_ms

async function move(by_ms: number): Promise<void> {
  const whole_ms = Math.max(0, Math.ceil(by_ms))
  await moveClock(db.sql, `${whole_ms} milliseconds`)
  ahead_ms += whole_ms
}

/** In how many milliseconds something may be sent again; null where nothing is left to send. */
async function nextDue(): Promise<number | null> {
  const [row] = await db.sql`
    select extract(epoch from min(greatest(due_at, leased_until, resting_until)) - clock_timestamp())::float8 * 1000 as ms
    from webhook_deliveries d join webhook_endpoints e on e.id = d.endpoint_id where state = 'pending' and disabled_at is null`
  return row!.ms
}

interface Row {
  account_id: string
  endpoint_id: string
  id: string
  state: string
  tries: number
  body: string
  answer: string | null
  due_ms: number
}

/** What a receiver makes of it, which takes nothing that was signed minutes ago. */
function verifiedWhenItCame(secret: string, { headers, body, came_unix_ms }: Received): unknown {
  vi.setSystemTime(came_unix_ms)
  try {
    return new Webhook(secret).verify(body, headers)
  } finally {
    vi.useRealTimers()
  }
}

function deliveries(where = db.sql`true`): Promise<Row[]> {
  return db.sql`
    select d.account_id, d.endpoint_id, ledger.event_name(d.event_id) as id, state, tries, body, answer,
      extract(epoch from due_at)::float8 * 1000 as due_ms
    from webhook_deliveries d join outbox o on o.id = d.event_id where ${where} order by d.id` as unknown as Promise<
    Row[]
  >
}

test(`${EVENTS} events to ${SINKS.length} kinds of receivers: none lost, none unsigned, one id each, on schedule`, {
  timeout: 60_000 + 1000 * EVENTS,
}, async () => {
  const heard = new Map<string, () => void>()
  let [noted, cuts] = [0, 0]
  const off_schedule: string[] = []
  const accounts: Told[] = []
  for (let i = 0; i < Math.max(SINKS.length, EVENTS / EVENTS_OF_ONE); i += 1)
    accounts.push(await newAccount(SINKS[i % SINKS.length]!, i))
  const others = accounts.filter(({ sink }) => !RESTED.includes(sink))
  const kinds = new Map(accounts.map(({ endpoint_id, sink }) => [endpoint_id, sink]))

  /** A failed attempt is followed by the next of the schedule, a fifth of the time sooner or later, and never before the receiver said. */
  async function onNoted(delivery_id: string, before_ms: number): Promise<void> {
    const [row] = await deliveries(db.sql`d.id = ${delivery_id}`)
    noted += 1
    if (row!.state !== 'pending') return
    const delay_ms = 1000 * DELAYS_S[row!.tries - 1]!
    const asked_ms = kinds.get(row!.endpoint_id) === 'throttled' ? 1000 * RETRY_AFTER_S : 0
    const [from, to] = [before_ms + Math.max(0.8 * delay_ms, asked_ms), now_ms() + Math.max(1.2 * delay_ms, asked_ms)]
    if (row!.due_ms < from - SPREAD_MS || row!.due_ms > to + SPREAD_MS)
      off_schedule.push(`after ${row!.tries} attempts in ${row!.due_ms - now_ms()} ms`)
  }
  const untilHeard = (url: string, id: string) =>
    new Promise<void>((resolve) => {
      if (url.includes('/slow/')) heard.set(new URL(url).pathname + id, resolve)
    })
  const hearing = setInterval(() => {
    for (const { path, id } of sinks.all.slice(-500)) {
      heard.get(path + id)?.()
      heard.delete(path + id)
    }
  }, 1)
  const sender = new Sender({ db, random, untilHeard, now_ms, onNoted })

  const pass = async () => {
    const cut_at = random.chance(0.3) ? 1 + random.below(40) : null
    const ended = await Promise.all([sender.run(cut_at), ...(random.chance(0.2) ? [sender.run(null)] : [])])
    cuts += ended.filter((is_cut) => is_cut).length
  }
  /** Sends until nothing is left to send, some minutes of the clock at most past what is due. */
  const drain = async () => {
    for (let due = await nextDue(); due !== null; due = await nextDue()) {
      await move(due + random.pick([0, 0, 60_000, 1_200_000]))
      await pass()
    }
  }

  for (let told = 0; told < EVENTS; told += 1) {
    const rested = accounts.find(({ sink, events }) => RESTED.includes(sink) && events < EVENTS_OF_RESTED)
    const drawn = random.chance(0.2) && rested ? rested : random.pick(others)
    await tell(accounts[told] ?? drawn) // each has one at least
    if (random.chance(0.05)) await pass()
  }
  await drain()
  expect(off_schedule).toEqual([])

  const sent = await deliveries()
  for (const { sink, name, endpoint_id, secret, watch, events, account_id } of accounts) {
    const own = sent.filter((row) => row.endpoint_id === endpoint_id)
    const came = sinks.at(sink, name)
    const [endpoint] = await db.sql`select disabled_reason from webhook_endpoints where id = ${endpoint_id}`
    expect({ sink, deliveries: own.length, disabled: endpoint!.disabled_reason }).toEqual({
      sink,
      deliveries: sink === 'gone' ? own.length : events,
      disabled: sink === 'gone' ? 'gone' : null,
    })
    const states = [...new Set(own.map(({ state, tries }) => (state === 'delivered' ? state : `${state} ${tries}`)))]
    if (sink !== 'gone') expect([sink, ...states]).toEqual([sink, GOOD.includes(sink) ? 'delivered' : 'failed 10'])
    // Each came under its own id, as the bytes that are kept, signed; and where somebody listens, all of them came.
    const bodies = new Map(own.map(({ id, body }) => [id, body]))
    for (const one of came) {
      expect(one.body).toBe(bodies.get(one.id))
      expect(verifiedWhenItCame(secret, one)).toMatchObject({ id: one.id, object: 'event' })
    }
    if (sink !== 'gone' && sink !== 'wrong-tls')
      expect(new Set(came.map(({ id }) => id))).toEqual(new Set(bodies.keys()))
    const watched = sinks.at('ok', `watch-${name}`)
    expect([sink, new Set(watched.map(({ id }) => id)).size]).toEqual([sink, sink === 'gone' ? 1 : 0])
    for (const one of watched) expect(verifiedWhenItCame(watch.secret, one)).toMatchObject({ data: { reason: 'gone' } })
    const [emitted] = await db.sql`
      select count(*)::int as count from outbox where account_id = ${account_id} and type ~ '^account'`
    expect(emitted!.count).toBe(events)
  }
  expect(sinks.endless_bytes).toBeLessThan(16 << 20)
  expect(sinks.all.filter(({ path }) => path.includes('redirected') || path.includes('wrong-tls'))).toEqual([])

  // Five days after it began to fail, the next failure ends an endpoint that has answered nothing else since.
  await move(6 * 86_400_000)
  for (const told of accounts) await tell(told)
  await drain()
  for (const { sink, name, endpoint_id } of accounts) {
    const [endpoint] = await db.sql`select disabled_reason from webhook_endpoints where id = ${endpoint_id}`
    const reason = GOOD.includes(sink) ? null : sink === 'gone' ? 'gone' : 'failing'
    expect([sink, endpoint!.disabled_reason]).toEqual([sink, reason])
    const reasons = sinks.at('ok', `watch-${name}`).map(({ body }) => JSON.parse(body).data.reason)
    expect([sink, [...new Set(reasons)]]).toEqual([sink, reason ? [reason] : []])
  }
  clearInterval(hearing)
  console.log(`${EVENTS} events, ${noted} attempts noted, ${sinks.all.length} came, ${cuts} senders cut`)
})
