// The database ends under load, as in a crash, and comes back. OUTAGE_S=60 is the whole case; a second and some refusals show the same.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import postgres from 'postgres'
import { expect, test } from 'vitest'
import { startPostgres } from '../../local/postgres.ts'
import { startStack } from '../../local/stack.ts'
import { draws } from '../support/draws.ts'
import { holdSteps } from '../support/held-steps.ts'
import { ledgerFindings } from '../support/postgres.ts'
import {
  type Customer,
  embeddedModel,
  eventually,
  newCustomer,
  nodeStatus,
  putInEnvironment,
} from '../support/stack.ts'

const OUTAGE_S = draws('OUTAGE_S', { few: 1, all: 5 })
const AT_ONCE = 8
const credit_nanousd = 100_000_000_000n
const body = JSON.stringify({
  model: 'ziya-coding-mini',
  prompt: 'def',
  max_tokens: 900,
  ignore_eos: true,
  stream: true,
  stream_options: { include_usage: true },
})

interface Stream {
  request_id: string
  status: number
  asked_at: number
  answered_at: number
  ended_at: number
  text: string
}

const now = () => performance.now()

/** Streams one after the other, `AT_ONCE` side by side, until told to end. */
function load(customer: Customer) {
  const streams: Stream[] = []
  let ended = false
  const one = async () => {
    const asked_at = now()
    const response = await customer.fetch('/v1/completions', { method: 'POST', body })
    const request_id = response.headers.get('x-request-id')!
    const stream = { request_id, status: response.status, asked_at, answered_at: now(), ended_at: Infinity, text: '' }
    stream.text = await response.text().catch((error: unknown) => `broken off: ${error}`)
    stream.ended_at = now()
    streams.push(stream)
    if (stream.status !== 200) await sleep(100)
  }
  const loops = Array.from({ length: AT_ONCE }, async () => {
    while (!ended) await one()
  })
  const end = () => {
    ended = true
    return Promise.all(loops)
  }
  return { streams, end }
}

test(`a database that is away for ${OUTAGE_S} s costs no stream and no money`, async () => {
  const data_dir = mkdtempSync(join(tmpdir(), 'ziya-outage-'))
  const database = { data_dir: join(data_dir, 'postgres') }
  const first = await startPostgres(database)
  const steps = holdSteps()
  const restore = putInEnvironment(steps.environment)
  const stack = await startStack({ port: 0, model_dir: embeddedModel, database_url: first.url, data_dir })
  const sql = postgres(first.url, { max: 1, fetch_types: false, onnotice: () => {} })
  let running = first
  let endLoad: () => Promise<unknown> = async () => null
  try {
    const customer = await newCustomer(stack, String(credit_nanousd))
    const { streams, end } = load(customer)
    endLoad = end
    await eventually(async () => (streams.length >= AT_ONCE ? true : null))
    steps.allow(0)
    await eventually(async () => {
      const { running, waiting } = await nodeStatus(stack) // who comes while no step is begun waits for one
      return running + waiting === AT_ONCE ? true : null
    })

    process.kill(first.pid, 'SIGQUIT')
    await first.stop()
    const gone_at = now()
    steps.letGo() // those that were held run on without a database
    const refused = () => streams.filter(({ asked_at, status }) => asked_at > gone_at && status === 503).length
    await eventually(async () => (refused() >= AT_ONCE ? true : null))
    await sleep(OUTAGE_S * 1000)
    const started_at = now()
    running = await startPostgres({ ...database, port: Number(new URL(first.url).port) })
    const back_at = now()
    const before = streams.filter(({ status, ended_at }) => status === 200 && ended_at < back_at)
    const settled = await eventually(() => allCharged(sql, before))
    await eventually(async () =>
      streams.some(({ asked_at, status }) => asked_at > back_at && status === 200) ? true : null,
    )
    await end()
    await eventually(() =>
      allCharged(
        sql,
        streams.filter(({ status }) => status === 200),
      ),
    )

    const during = streams.filter(({ asked_at, answered_at }) => asked_at > gone_at && answered_at < started_at)
    // One that ends only when the database is back has run on, too: how long they take is the machine's.
    const overlapping = streams.filter(
      ({ status, asked_at, ended_at }) => status === 200 && asked_at < gone_at && ended_at > gone_at,
    )
    const slowest_ms = Math.max(...during.map(({ asked_at, answered_at }) => answered_at - asked_at))
    console.log(
      `${OUTAGE_S} s: ${streams.length} requests; ${overlapping.length} streams ran on, ${during.length} refused within ${slowest_ms.toFixed(0)} ms; ${before.length} records settled in ${settled.ms.toFixed(0)} ms`,
    )
    expect(overlapping.length).toBeGreaterThanOrEqual(AT_ONCE)
    expect(during.length).toBeGreaterThanOrEqual(AT_ONCE)
    for (const { status, text } of during) {
      expect(status).toBe(503)
      expect(JSON.parse(text).error.code).toBe('database_unavailable')
    }
    for (const { status, text } of streams) {
      expect([200, 503]).toContain(status)
      if (status === 200) expect(text.endsWith('data: [DONE]\n\n')).toBe(true)
    }
    await expectBooks(sql, customer, streams)
  } finally {
    steps.letGo()
    await endLoad()
    await stack.stop()
    restore()
    steps.remove()
    await sql.end({ timeout: 5 })
    await running.stop()
    rmSync(data_dir, { recursive: true, force: true })
  }
})

/** In time, or as late usage: an admission commits asynchronously, and the crash may take the last of them with it. */
async function allCharged(sql: postgres.Sql, streams: Stream[]): Promise<true | null> {
  const ids = `{${streams.map(({ request_id }) => request_id)}}`
  const [row] = await sql`select count(*)::int as charged from usage where request_id = any (${ids}::uuid[])`
  return row!.charged === streams.length ? true : null
}

/** The account paid what its streams said, once; what is still held is of requests whose admission nobody heard of. */
async function expectBooks(sql: postgres.Sql, { account_id }: Customer, streams: Stream[]): Promise<void> {
  const [price] = await sql`select input_nanousd_per_token as input, cached_input_nanousd_per_token as cached,
    output_nanousd_per_token as output from prices where model = 'ziya-coding-mini' order by version desc limit 1`
  const costs = streams.filter(({ status }) => status === 200).map(({ text }) => costOf(text, price as never))
  const [account] = await sql`select * from accounts where id = ${account_id}`
  expect(BigInt(account!.credited_nanousd)).toBe(credit_nanousd)
  expect(BigInt(account!.debited_nanousd)).toBe(costs.reduce((sum, cost) => sum + cost, 0n))
  const refused = streams.filter(({ status }) => status === 503).map(({ request_id }) => request_id)
  const held = await sql`select request_id from reservations where account_id = ${account_id} and state = 'pending'`
  for (const { request_id } of held) expect(refused).toContain(request_id)
  expect(await ledgerFindings(sql, [account_id])).toEqual([])
  for (let after: string | null = '0'; after !== null; ) {
    const items: string = JSON.stringify([{ after, entries_max: 100_000, anew: after === '0' }])
    const [step]: postgres.Row[] = await sql`select api.reconcile(${items}::text::jsonb) as answer`
    after = step!.answer.after
  }
  expect(await sql`select * from ledger_findings`).toEqual([])
}

function costOf(text: string, price: { input: string; cached: string; output: string }): bigint {
  const { usage } = JSON.parse(text.trim().split('\n\n').at(-2)!.slice('data: '.length))
  const cached = BigInt(usage.prompt_tokens_details?.cached_tokens ?? 0)
  const uncached = BigInt(usage.prompt_tokens) - cached
  return (
    uncached * BigInt(price.input) +
    cached * BigInt(price.cached) +
    BigInt(usage.completion_tokens) * BigInt(price.output)
  )
}
