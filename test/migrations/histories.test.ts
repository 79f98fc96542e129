// Random concurrent histories of the ledger against a real Postgres, over the gateway's own lanes and connections, while
// backends are killed. After each one the books must balance and agree with what the nodes counted.
// HISTORIES=n says how many, SEED=n repeats a run's plans.

import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { connect } from '../../gateway/db/connection.ts'
import { Lane } from '../../gateway/db/lane.ts'
import { ledgerFindings, newPayer, type Payer, startTestPostgres, type TestPostgres } from '../support/postgres.ts'
import { type Random, seededRandom } from '../support/random.ts'

const HISTORIES = Number(process.env.HISTORIES ?? 100)
const PRICE = { model: 'm', input_nanousd_per_token: '3', output_nanousd_per_token: '7' }
const LANES = 5
const KILLS_MAX = 3 // a history; each costs a pause and a new connection
const NEVER_MS = 600_000

type Fate = 'settle' | 'settle_late' | 'void' | 'abandon' | 'second_attempt' | 'lost_then_settled' | 'lost_then_voided'

interface Plan {
  fate: Fate
  payer: Payer
  request_id: string
  repeats: number
  ttl_ms: number
  prompt_tokens: number
  completion_tokens: number
  /** Tokens the reservation pays for; now and then fewer than were generated. */
  ceiling: number
  delay_ms: number
}

interface Answer {
  decision: string
  reserved_nanousd?: string
  price_version?: number
}

let db: TestPostgres
let lanes: Lane[]

beforeAll(async () => {
  db = await startTestPostgres()
  await db.ask('publish_price', PRICE)
  await db.sql`select heartbeat(${JSON.stringify(node())}::text::jsonb)`
  await db.sql`update nodes set last_seen_at = 'infinity'`
  lanes = Array.from({ length: LANES }, () => new Lane({ connect: () => connect(db.url, 10_000), patience_ms: 60_000 }))
})
afterAll(() => db?.stop())

test(`${HISTORIES} concurrent histories with killed connections keep every invariant`, {
  timeout: 600_000,
}, async () => {
  const random = seededRandom()
  const errors = captureErrors()
  let kills = 0
  for (let history = 0; history < HISTORIES; history += 1) {
    const { findings, killed } = await runHistory(random)
    kills += killed
    expect(findings, `history ${history} of seed ${random.seed}`).toEqual([])
  }
  expect(errors.filter((line) => /refused|deadlock/.test(line))).toEqual([])
  console.log(`${HISTORIES} histories, ${kills} connections killed, ${errors.length} calls with an unknown outcome`)
})

/** One line a lost answer: expected here, where connections are killed on purpose. */
function captureErrors(): string[] {
  const lines: string[] = []
  const original = console.error
  console.error = (line: unknown) => void lines.push(String(line))
  afterAll(() => {
    console.error = original
  })
  return lines
}

async function runHistory(random: Random): Promise<{ findings: string[]; killed: number }> {
  const payers: Payer[] = []
  for (let i = 0; i < 3; i += 1) payers.push(await newPayer(db, BigInt(1000 + random.below(60_000))))
  const accounts = payers.map((payer) => payer.account_id)
  const plans = Array.from({ length: 12 + random.below(30) }, () => plan(random, payers))
  const topUps = Array.from({ length: 6 }, () => ({ payer: random.pick(payers), amount: 1 + random.below(20_000) }))
  const findings: string[] = []
  let running = true

  const whileRunning = async (pause_ms: number, act: () => Promise<unknown>) => {
    for (; running; await sleep(pause_ms)) await act()
  }
  let killed = 0
  const around = [
    whileRunning(10, () => ask('expire', { count_max: 5 })),
    whileRunning(40, async () => findings.push(...(await ledgerFindings(db.sql, accounts)))),
    whileRunning(20 + random.below(100), async () => {
      if (killed < KILLS_MAX) killed += await killOne()
    }),
  ]
  const reports = await Promise.all([
    ...plans.map(runPlan),
    ...topUps.map(async ({ payer, amount }) => {
      const item = { account_id: payer.account_id, amount_nanousd: String(amount), reference: randomUUID() }
      const answers = await Promise.all([ask('top_up', item), ask('top_up', item)])
      return answers.every(({ decision }) => decision === 'credited') ? [] : ['a repeated top-up was not the same']
    }),
  ])
  running = false
  await Promise.all(around)
  await db.sql`update reservations set expires_at = clock_timestamp() - interval '1 second' where state = 'pending'`
  await ask('expire', { count_max: 1000 })
  findings.push(...reports.flat(), ...(await ledgerFindings(db.sql, accounts)), ...(await stillOpen(accounts)))
  return { findings, killed }
}

const fates: Fate[] = ['settle', 'settle', 'settle', 'settle', 'settle_late', 'void', 'abandon', 'second_attempt']

function plan(random: Random, payers: Payer[]): Plan {
  const fate = random.chance(0.08)
    ? random.pick(['lost_then_settled', 'lost_then_voided'] as const)
    : random.pick(fates)
  const prompt_tokens = 1 + random.below(200)
  const completion_tokens = random.below(300)
  return {
    fate,
    payer: random.pick(payers),
    request_id: randomUUID(),
    repeats: 1 + random.below(3),
    ttl_ms: fate === 'settle_late' || fate === 'abandon' ? 1 + random.below(20) : NEVER_MS,
    prompt_tokens,
    completion_tokens,
    ceiling: random.chance(0.1) ? Math.floor(completion_tokens / 2) : completion_tokens + random.below(100),
    delay_ms: random.below(30),
  }
}

/** Carries one request through its fate. Returns what went otherwise than it must. */
async function runPlan(plan: Plan): Promise<string[]> {
  await sleep(plan.delay_ms)
  if (plan.fate === 'lost_then_settled' || plan.fate === 'lost_then_voided') return runLost(plan)
  const admissions = await repeat(plan, 'admit', admitItem(plan))
  const admitted = admissions.find(({ decision }) => decision === 'admitted')
  const others = admissions.filter((answer) => answer !== admitted && !isSame(plan, answer, admitted))
  if (others.length > 0) return [`admit answered ${others.map(({ decision }) => decision)}`]
  if (!admitted) return plan.ttl_ms === NEVER_MS ? nothingIsHeld(plan) : []
  const ticket = ticketOf(plan, admitted)
  switch (plan.fate) {
    case 'settle':
      return expectSettled(plan, ticket, ['posted'])
    case 'settle_late':
      await sleep(plan.ttl_ms + 10)
      await ask('expire', { count_max: 1000 })
      return expectSettled(plan, ticket, ['late', 'posted'])
    case 'void': {
      const voids = await repeat(plan, 'void', ticket)
      const settled = await ask('settle', { ...ticket, ...counts(plan) })
      return [...voids, settled].every(({ decision }) => decision === 'voided') ? [] : ['a void did not hold']
    }
    case 'second_attempt':
      return runSecondAttempt(plan, ticket)
    default:
      return []
  }
}

async function runSecondAttempt(plan: Plan, ticket: object): Promise<string[]> {
  const second = { ...ticket, attempt: 2 }
  const fences = await repeat(plan, 'fence', second)
  const stale = ask('settle', { ...ticket, ...counts(plan), completion_tokens: plan.completion_tokens + 1 })
  const findings = await expectSettled(plan, second, ['posted'])
  if (fences.some(({ decision }) => decision !== 'fenced')) findings.push('a fence did not hold')
  if ((await stale).decision !== 'stale') findings.push(`a stale attempt was ${(await stale).decision}`)
  return findings
}

/** A reservation that a crash of the database forgot comes back with its ticket. */
async function runLost(plan: Plan): Promise<string[]> {
  const amount = String(3 * plan.prompt_tokens + 7 * plan.ceiling)
  const ticket = ticketOf(plan, { decision: 'admitted', reserved_nanousd: amount, price_version: 1 })
  if (plan.fate === 'lost_then_settled') return expectSettled(plan, ticket, ['late'])
  const [voided] = await repeat(plan, 'void', ticket)
  const settled = await ask('settle', { ...ticket, ...counts(plan) })
  return voided!.decision === 'voided' && settled.decision === 'voided' ? [] : ['a void of a lost one did not hold']
}

/** Settles as often as planned, at once; then with other counts; and reads what is in the ledger. */
async function expectSettled(plan: Plan, ticket: object, firsts: string[]): Promise<string[]> {
  const item = { ...ticket, ...counts(plan) }
  const decisions = (await repeat(plan, 'settle', item)).map(({ decision }) => decision)
  const conflict = await ask('settle', { ...item, completion_tokens: plan.completion_tokens + 1 })
  const [usage] = await db.sql`
    select prompt_tokens, completion_tokens, cost_nanousd, amount_nanousd from usage join reservations using (request_id)
    where request_id = ${plan.request_id}`
  // An answer may have been lost with its connection: then even the first one that came says duplicate.
  const findings = decisions.filter((decision) => ![...firsts, 'duplicate'].includes(decision))
  if (decisions.filter((decision) => firsts.includes(decision)).length > 1) findings.push('settled twice')
  if (conflict.decision !== 'conflict') findings.push(`other counts were ${conflict.decision}`)
  const cost = BigInt(3 * plan.prompt_tokens + 7 * plan.completion_tokens)
  const charge = cost < BigInt(usage?.amount_nanousd ?? 0) ? cost : BigInt(usage?.amount_nanousd ?? 0)
  if (!usage || BigInt(usage.cost_nanousd) !== charge || Number(usage.completion_tokens) !== plan.completion_tokens)
    findings.push('an acknowledged settle is not in the ledger as the node counted')
  return findings
}

/** Asked again, a request that was admitted stays admitted; a refused one may be admitted when a top-up came in between. */
function isSame({ ttl_ms }: Plan, answer: Answer, admitted?: Answer): boolean {
  if (answer.decision === 'admitted') return answer.reserved_nanousd === admitted?.reserved_nanousd
  return answer.decision === 'insufficient_quota' || (answer.decision === 'closed' && ttl_ms < NEVER_MS)
}

async function nothingIsHeld({ request_id }: Plan): Promise<string[]> {
  const rows = await db.sql`select 1 from reservations where request_id = ${request_id}`
  return rows.length === 0 ? [] : ['refused for its price, and reserved']
}

async function stillOpen(accounts: string[]): Promise<string[]> {
  const rows =
    await db.sql`select id from accounts where id = any (${`{${accounts}}`}::bigint[]) and pending_nanousd <> 0`
  return rows.map(({ id }) => `account ${id} holds money for nobody`)
}

function admitItem(plan: Plan) {
  const { request_id, payer, ttl_ms } = plan
  const tokens = { prompt_tokens_max: plan.prompt_tokens, output_tokens_max: plan.ceiling }
  return { request_id, key_hash: payer.key_hash, model: 'm', ...tokens, ttl_ms }
}

function ticketOf({ request_id, payer }: Plan, { reserved_nanousd, price_version }: Answer) {
  const { account_id, key_id } = payer
  return { request_id, account_id, key_id, model: 'm', attempt: 1, price_version, reserved_nanousd }
}

function counts({ prompt_tokens, completion_tokens }: Plan) {
  return {
    prompt_tokens,
    cached_tokens: 0,
    completion_tokens,
    delivered_tokens: completion_tokens,
    outcome: 'stop',
    started_unix_ms: 0,
    first_token_ms: null,
    duration_ms: 1,
  }
}

/** The same question several times at once, over different lanes. */
function repeat(plan: Plan, name: string, item: object): Promise<Answer[]> {
  return Promise.all(Array.from({ length: plan.repeats }, () => ask(name, item)))
}

let turn = 0

async function ask(name: string, item: object): Promise<Answer> {
  turn += 1
  const answer = await lanes[turn % LANES]!.ask(name, item)
  if (typeof answer === 'string') throw new Error(`${name}: ${answer}`)
  return answer as Answer
}

async function killOne(): Promise<number> {
  const rows = await db.sql`
    select pg_terminate_backend(pid) from pg_stat_activity
    where backend_type = 'client backend' and pid <> pg_backend_pid() and query like '%::jsonb) as answer' and query not like '%$1%'
    order by random() limit 1`
  return rows.length
}

function node() {
  const numbers = { context_tokens: 1, running: 0, waiting: 0, blocks_total: 1, blocks_free: 1 }
  return { node_id: 'n', url: 'http://n', model: 'm', state: 'ready', ...numbers }
}
