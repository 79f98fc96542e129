// Random concurrent histories of the ledger against a real Postgres, over the gateway's own lanes and connections, while connections
// or the server itself are killed. After each one the books must balance and agree with what the nodes counted. Used by a test
// (connections die) and by the soak (gateways die, Postgres crashes).

import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import postgres from 'postgres'
import { type Connection, connect } from '../../gateway/db/connection.ts'
import type { FunctionName } from '../../gateway/db/functions.ts'
import { Lane } from '../../gateway/db/lane.ts'
import { checked, type Told } from './boundary.ts'
import { type Ask, grantFindings, ledgerFindings, newPayerBy, type Payer } from './postgres.ts'
import { type Random, randomFrom } from './random.ts'
import { WorkHistories } from './work-histories.ts'

// Lanes work as the teller's do: what is asked of one function while its lane is busy goes as one call. Two of each meet in the database.
const LANES_A_NAME = 2
// Far beyond any history, so that one may be suspended with its database (SIGSTOP) and go on.
const NEVER_MS = 6 * 3_600_000
const PATIENCE_MS = 3_600_000
// One history in so many has work in the background, which is many more calls.
const WORK_ONE_IN = 5

type Fate =
  | 'settle'
  | 'settle_late'
  | 'void'
  | 'answer_lost'
  | 'abandon'
  | 'second_attempt'
  | 'lost_then_settled'
  | 'lost_then_voided'

interface Plan {
  fate: Fate
  payer: Payer
  request_id: string
  repeats: number
  ttl_ms: number
  prompt_tokens: number
  cached_tokens: number
  completion_tokens: number
  /** Tokens the reservation pays for; now and then fewer than were generated. */
  ceiling: number
  delay_ms: number
  /** What part of the charge is refunded afterwards, in percent; null: nothing is. */
  refund_percent: number | null
  metadata: Record<string, string> | null
  service_tier: 'default' | 'flex'
}

type Admitted = Told<'admit'>

type Step = () => Promise<string[]>

export interface HistoriesOptions {
  database_url: string
  /** The server crashes now and then: what was not durable may be forgotten, and comes back with its ticket. */
  forgets: boolean
  at_once?: number
  /** How many calls are made for each connection that is killed. */
  calls_a_kill?: number
}

export class Histories {
  calls = 0
  readonly #sql: postgres.Sql
  readonly #lanes = new Map<string, Lane[]>()
  readonly #newLane: () => Lane
  readonly #open = new Set<Connection>()
  readonly #forgets: boolean
  readonly #at_once: number
  readonly #calls_a_kill: number
  readonly #work: WorkHistories
  #onCall: (() => Promise<void>) | null = null

  constructor({ database_url, forgets, at_once = 8, calls_a_kill = 80 }: HistoriesOptions) {
    this.#sql = postgres(database_url, { max: 4, prepare: false, fetch_types: false, onnotice: () => {} })
    this.#newLane = () => new Lane({ connect: () => this.#connect(database_url), patience_ms: PATIENCE_MS })
    this.#forgets = forgets
    this.#at_once = at_once
    this.#calls_a_kill = calls_a_kill
    this.#work = new WorkHistories({ ask: (name, item) => this.#ask(name, item), query: (query) => this.#query(query) })
  }

  /** A price to begin with, and a node that never falls silent. */
  async prepare(): Promise<void> {
    const price = { model: 'm', input_nanousd_per_token: '3', output_nanousd_per_token: '7' }
    await this.#ask('publish_price', price)
    await this.#ask('publish_price', { ...price, service_tier: 'flex', output_nanousd_per_token: '2' })
    await this.#sql`select ledger.heartbeat(${JSON.stringify(node)}::text::jsonb)`
    await this.#sql`update nodes set last_seen_at = 'infinity'`
    await this.#work.prepare()
  }

  /** Kills a connection of a lane now and then, in the middle of a call where one is under way. Stops when told to. */
  killConnections(): { kills: () => number; stop: () => void } {
    let kills = 0
    let next = this.calls + this.#calls_a_kill
    this.#onCall = async () => {
      if (this.calls < next) return
      next = this.calls + this.#calls_a_kill
      kills += await this.#killOne().catch(() => 0)
    }
    return { kills: () => kills, stop: () => (this.#onCall = null) }
  }

  /**
   * The gateway dies: its end of every connection is gone at once, with what was asked over it. Whoever asked asks the next one, which
   * begins without lanes.
   */
  killGateway(): void {
    this.#lanes.clear()
    for (const connection of this.#open) connection.discard()
  }

  #connect(database_url: string): Connection {
    const connection = connect(database_url, 10_000)
    this.#open.add(connection)
    const discard = () => {
      this.#open.delete(connection)
      connection.discard()
    }
    return { call: connection.call, discard }
  }

  async #killOne(): Promise<number> {
    const rows = await this.#sql`
      select pg_terminate_backend(pid) from pg_stat_activity
      where backend_type = 'client backend' and pid <> pg_backend_pid()
        and query like '%::jsonb) as answer' and query not like '%$1%'
      order by state <> 'active', random() limit 1`
    return rows.length
  }

  async stop(): Promise<void> {
    await this.#sql.end({ timeout: 1 })
  }

  /** Runs histories `from` up to `to`, some at once. Returns the first findings, none where all is as it must be. */
  async runAll(options: {
    seed: number
    from: number
    to: number
    onDone: (history: number) => void
  }): Promise<string[]> {
    const { seed, from, to, onDone } = options
    const findings: string[] = []
    let next = from
    const oneByOne = async () => {
      for (let history = next++; history < to && findings.length === 0; history = next++) {
        const own = await this.run(seed + history)
        findings.push(...own.map((finding) => `history ${history} of seed ${seed}: ${finding}`))
        onDone(history)
      }
    }
    await Promise.all(Array.from({ length: this.#at_once }, oneByOne))
    return findings
  }

  /** Returns what went otherwise than it must, one line each. */
  async run(seed: number): Promise<string[]> {
    const random = randomFrom(seed)
    const payers: Payer[] = []
    for (let i = 0; i < 3; i += 1) payers.push(await newPayerBy(this.#askAll, BigInt(1000 + random.below(60_000))))
    const accounts = payers.map((payer) => payer.account_id)
    const steps: Step[] = [
      ...Array.from({ length: 12 + random.below(30) }, () => plan(random, payers)).map((p) => () => this.#carry(p)),
      ...Array.from({ length: 10 }, () => this.#moneyStep(random, random.pick(payers))),
      ...Array.from({ length: 3 }, () => this.#priceStep(random, random.pick(payers))),
    ]
    const work = random.below(WORK_ONE_IN) === 0 ? await this.#work.begin(random, payers) : null
    const findings: string[] = []
    const over = new AbortController()
    // The chance is spread so that it happens as often for all histories together, however many there are.
    const whileRunning = async (pause_ms: number, act: () => Promise<unknown>) => {
      while (!over.signal.aborted) {
        await act()
        await sleep((pause_ms * this.#at_once) / 8, null, over).catch(() => {}) // ended early
      }
    }
    const around = [
      whileRunning(50, () => this.#ask('expire', { count_max: 5 })),
      whileRunning(80, () => this.#ask('expire_due_grants', { count_max: 5 })),
      whileRunning(200, async () => findings.push(...(await this.#books(accounts)))),
    ]
    const reports = await Promise.all(steps.map((step) => step()))
    if (work) findings.push(...(await this.#work.finish(work, random, payers)))
    over.abort()
    await Promise.all(around)
    await this.#endEverything(accounts)
    return [...findings, ...reports.flat(), ...(await this.#books(accounts)), ...(await this.#leftovers(accounts))]
  }

  /** Carries one request through its fate. Returns what went otherwise than it must. */
  async #carry(plan: Plan): Promise<string[]> {
    await sleep(plan.delay_ms)
    if (plan.fate === 'lost_then_settled' || plan.fate === 'lost_then_voided') return this.#carryLost(plan)
    const admissions = await this.#repeat(plan, 'admit', admitItem(plan))
    const admitted = admissions.find(({ decision }) => decision === 'admitted')
    const others = admissions.filter((answer) => answer !== admitted && !this.#isSame(plan, answer, admitted))
    if (others.length > 0) return [`admit answered ${others.map(({ decision }) => decision)}`]
    if (!admitted) return plan.ttl_ms === NEVER_MS && !this.#forgets ? this.#nothingIsHeld(plan) : []
    const findings = this.#forgets ? [] : await this.#reservedAtItsPrice(plan, admitted)
    const ticket = ticketOf(plan, admitted)
    switch (plan.fate) {
      case 'settle':
        return [...findings, ...(await this.#expectSettled(plan, ticket, ['posted']))]
      case 'settle_late':
        await sleep(plan.ttl_ms + 10)
        await this.#ask('expire', { count_max: 1000 })
        return [...findings, ...(await this.#expectSettled(plan, ticket, ['late', 'posted']))]
      case 'void': {
        const voids = await this.#repeat(plan, 'void', ticket)
        const settled = await this.#ask('settle', { ...ticket, ...counts(plan) })
        return [...voids, settled].every(({ decision }) => decision === 'voided') ? findings : ['a void did not hold']
      }
      case 'answer_lost':
        await Promise.all([
          this.#repeat(plan, 'settle', { ...ticket, ...counts(plan) }),
          this.#repeat(plan, 'void', ticket),
        ])
        return [...findings, ...(await this.#nothingIsPaid(plan))]
      case 'second_attempt':
        return [...findings, ...(await this.#carrySecondAttempt(plan, ticket))]
      default:
        return findings
    }
  }

  async #carrySecondAttempt(plan: Plan, ticket: object): Promise<string[]> {
    const second = { ...ticket, attempt: 2 }
    const fences = (await this.#repeat(plan, 'fence', second)).map(({ decision }) => decision)
    // Forgotten by a crash: then no second attempt may run, and the first one's report brings the reservation back.
    if (this.#forgets && fences.every((decision) => decision === 'closed'))
      return this.#expectSettled(plan, ticket, ['late'])
    const stale = this.#ask('settle', { ...ticket, ...counts(plan), completion_tokens: plan.completion_tokens + 1 })
    const findings = await this.#expectSettled(plan, second, ['posted'])
    if (fences.some((decision) => decision !== 'fenced')) findings.push('a fence did not hold')
    if ((await stale).decision !== 'stale') findings.push(`a stale attempt was ${(await stale).decision}`)
    return findings
  }

  /** A reservation that a crash of the database forgot comes back with its ticket. */
  async #carryLost(plan: Plan): Promise<string[]> {
    const amount = String(3 * plan.prompt_tokens + 7 * plan.ceiling)
    const ticket = ticketOf(plan, { reserved_nanousd: amount, price_version: 1 })
    if (plan.fate === 'lost_then_settled') return this.#expectSettled(plan, ticket, ['late'])
    const [voided] = await this.#repeat(plan, 'void', ticket)
    const settled = await this.#ask('settle', { ...ticket, ...counts(plan) })
    return voided!.decision === 'voided' && settled.decision === 'voided' ? [] : ['a void of a lost one did not hold']
  }

  /** Whichever of the node's report and the gateway's void came first. */
  async #nothingIsPaid({ request_id }: Plan): Promise<string[]> {
    const [row] = await this.#query(
      (sql) => sql`select coalesce(sum(case kind when 'refund' then -amount_nanousd else amount_nanousd end), 0) as paid
        from entries where request_id = ${request_id}`,
    )
    return row!.paid === '0' ? [] : [`${row!.paid} nano-USD were paid for an answer nobody got`]
  }

  /** Settles as often as planned, at once; then with other counts; and reads what is in the ledger. */
  async #expectSettled(plan: Plan, ticket: object, firsts: string[]): Promise<string[]> {
    const allowed = this.#forgets ? [...firsts, 'late'] : firsts
    const item = { ...ticket, ...counts(plan) }
    const decisions = (await this.#repeat(plan, 'settle', item)).map(({ decision }) => decision)
    const conflict = await this.#ask('settle', { ...item, completion_tokens: plan.completion_tokens + 1 })
    // An answer may have been lost with its connection: then even the first one that came says duplicate.
    const findings: string[] = decisions.filter((decision) => ![...allowed, 'duplicate'].includes(decision))
    if (decisions.filter((decision) => allowed.includes(decision)).length > 1) findings.push('settled twice')
    if (conflict.decision !== 'conflict') findings.push(`other counts were ${conflict.decision}`)
    const charge = await this.#chargeOf(plan)
    if (charge === null) return [...findings, 'an acknowledged settle is not in the ledger as the node counted']
    return [...findings, ...(await this.#refund(plan, charge))]
  }

  /** What was charged, where it is what the node counted at the price of the reservation; else null. */
  async #chargeOf({ request_id, prompt_tokens, cached_tokens, completion_tokens }: Plan): Promise<bigint | null> {
    const [row] = await this.#query(
      (sql) => sql`
      select u.*, r.amount_nanousd, p.input_nanousd_per_token, p.cached_input_nanousd_per_token, p.output_nanousd_per_token
      from usage u join reservations r using (request_id) join prices p on p.model = r.model and p.version = r.price_version
      where request_id = ${request_id}`,
    )
    if (!row) return null
    const cost =
      BigInt(row.input_nanousd_per_token) * BigInt(prompt_tokens - cached_tokens) +
      BigInt(row.cached_input_nanousd_per_token) * BigInt(cached_tokens) +
      BigInt(row.output_nanousd_per_token) * BigInt(completion_tokens)
    const charge = cost < BigInt(row.amount_nanousd) ? cost : BigInt(row.amount_nanousd)
    const counted = [row.prompt_tokens, row.cached_tokens, row.completion_tokens].join()
    const isRight =
      counted === [prompt_tokens, cached_tokens, completion_tokens].join() && BigInt(row.cost_nanousd) === charge
    return isRight ? charge : null
  }

  /** Refunds a part, as often as planned; then one nano-USD more than is left, which must be refused. */
  async #refund({ refund_percent, payer, request_id, repeats }: Plan, charge: bigint): Promise<string[]> {
    const amount = refund_percent === null ? 0n : (charge * BigInt(refund_percent)) / 100n
    if (amount === 0n) return []
    const item = { account_id: payer.account_id, request_id, amount_nanousd: String(amount), reference: randomUUID() }
    const answers = await Promise.all(Array.from({ length: repeats }, () => this.#ask('refund', item)))
    const above = { ...item, amount_nanousd: String(charge - amount + 1n), reference: randomUUID() }
    const findings = answers
      .filter(({ decision }) => decision !== 'refunded')
      .map(({ decision }) => `a refund was ${decision}`)
    if ((await this.#ask('refund', above)).decision !== 'above_charge') findings.push('refunded above the charge')
    return findings
  }

  async #reservedAtItsPrice({ prompt_tokens, ceiling, service_tier }: Plan, admitted: Admitted): Promise<string[]> {
    const [price] = await this.#query(
      (sql) => sql`select * from prices where model = 'm' and version = ${admitted.price_version}`,
    )
    const amount =
      BigInt(price!.input_nanousd_per_token) * BigInt(prompt_tokens) +
      BigInt(price!.output_nanousd_per_token) * BigInt(ceiling)
    const is_right = String(amount) === admitted.reserved_nanousd && price!.service_tier === service_tier
    return is_right ? [] : ['reserved otherwise than at its price']
  }

  /** Asked again, a request that was admitted stays admitted; a refused one may be admitted when a top-up came in between. */
  #isSame({ ttl_ms }: Plan, answer: Admitted, admitted?: Admitted): boolean {
    if (answer.decision === 'insufficient_quota') return true
    if (this.#forgets) return answer.decision === 'admitted' || answer.decision === 'closed'
    if (answer.decision === 'admitted') return answer.reserved_nanousd === admitted?.reserved_nanousd
    return answer.decision === 'closed' && ttl_ms < NEVER_MS
  }

  async #nothingIsHeld({ request_id }: Plan): Promise<string[]> {
    const rows = await this.#query((sql) => sql`select 1 from reservations where request_id = ${request_id}`)
    return rows.length === 0 ? [] : ['refused for its price, and reserved']
  }

  /** A top-up, a grant that ends soon, or an adjustment: each asked twice, at once. */
  #moneyStep(random: Random, { account_id }: Payer): Step {
    const common = { account_id, amount_nanousd: String(1 + random.below(20_000)), reference: randomUUID() }
    const expires_at = new Date(Date.now() + 20 + random.below(200)).toISOString()
    const [name, own, ...allowed] = random.pick([
      ['top_up', {}, 'credited'],
      ['top_up', {}, 'credited'],
      ['give_grant', { expires_at }, 'granted'],
      ['give_grant', { expires_at }, 'granted'],
      ['adjust', { direction: 'credit' }, 'adjusted'],
      // Refused for the balance, and asked again after a top-up: then it may be booked.
      ['adjust', { direction: 'debit' }, 'adjusted', 'insufficient_balance'],
    ] as [FunctionName, object, ...string[]][])
    const delay_ms = random.below(40)
    return async () => {
      await sleep(delay_ms)
      const answers = await Promise.all([
        this.#ask(name, { ...common, ...own }),
        this.#ask(name, { ...common, ...own }),
      ])
      return answers
        .filter(({ decision }) => !allowed.includes(decision))
        .map(({ decision }) => `${name} was ${decision}`)
    }
  }

  /** A new price: for all or for one account, now or in a moment. */
  #priceStep(random: Random, { account_id }: Payer): Step {
    const input = 1 + random.below(6)
    const item = {
      model: 'm',
      account_id: random.chance(0.5) ? account_id : null,
      input_nanousd_per_token: String(input),
      cached_input_nanousd_per_token: String(random.below(input + 1)),
      output_nanousd_per_token: String(random.below(12)),
      service_tier: random.pick(['default', 'flex']),
    }
    const delay_ms = random.below(40)
    return async () => {
      const valid_from = new Date(Date.now() + delay_ms).toISOString()
      const { decision } = await this.#ask('publish_price', { ...item, valid_from })
      const may_be_late = this.#forgets && decision === 'begins_in_the_past' // it was suspended, or the server long away
      return decision === 'published' || may_be_late ? [] : [`a price was ${decision}`]
    }
  }

  /** Nothing is reported any more, and every grant ends. */
  async #endEverything(accounts: string[]): Promise<void> {
    const ids = `{${accounts}}`
    await this.#query(
      (sql) => sql`update reservations set expires_at = clock_timestamp() - interval '1 second'
        where state = 'pending' and account_id = any (${ids}::bigint[])`,
    )
    await this.#ask('expire', { count_max: 1000 })
    const [last] = await this.#query(
      (sql) => sql`select greatest(0, extract(epoch from max(expires_at) - clock_timestamp())) as seconds from grants
        where account_id = any (${ids}::bigint[])`,
    )
    await sleep(Number(last?.seconds ?? 0) * 1000 + 1)
    await this.#ask('expire_due_grants', { count_max: 1000 })
  }

  async #books(accounts: string[]): Promise<string[]> {
    return this.#retried(() => ledgerFindings(this.#sql, accounts))
  }

  async #leftovers(accounts: string[]): Promise<string[]> {
    const rows = await this.#query(
      (sql) => sql`select id from accounts where id = any (${`{${accounts}}`}::bigint[]) and pending_nanousd <> 0`,
    )
    const grants = await this.#retried(() => grantFindings(this.#sql, accounts))
    return [...rows.map(({ id }) => `account ${id} holds money for nobody`), ...grants]
  }

  /** The same question several times at once, over different lanes. */
  #repeat<N extends FunctionName>(plan: Plan, name: N, item: object): Promise<Told<N>[]> {
    return Promise.all(Array.from({ length: plan.repeats }, () => this.#ask(name, item)))
  }

  readonly #askAll: Ask = (name, ...items) => Promise.all(items.map((item) => this.#ask(name, item)))

  async #ask<N extends FunctionName>(name: N, item: object): Promise<Told<N>> {
    this.calls += 1
    void this.#onCall?.()
    if (!this.#lanes.has(name)) this.#lanes.set(name, Array.from({ length: LANES_A_NAME }, this.#newLane))
    const answer = await this.#lanes.get(name)![this.calls % LANES_A_NAME]!.ask(name, item)
    if (typeof answer === 'string') throw new Error(`${name}: ${answer}`)
    return checked(name, [item], [answer])[0]!
  }

  #query(query: (sql: postgres.Sql) => Promise<postgres.Row[]>): Promise<postgres.Row[]> {
    return this.#retried(() => query(this.#sql))
  }

  /** A read of the test's own, again where the server was away. */
  async #retried<T>(read: () => Promise<T>): Promise<T> {
    for (let tries = 0; ; tries += 1) {
      try {
        return await read()
      } catch (error) {
        if (!this.#forgets || tries > 200) throw error
        await sleep(100)
      }
    }
  }
}

const fates: Fate[] = [
  'settle',
  'settle',
  'settle',
  'settle',
  'settle_late',
  'void',
  'answer_lost',
  'abandon',
  'second_attempt',
]

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
    cached_tokens: random.chance(0.5) ? 0 : random.below(prompt_tokens + 1),
    completion_tokens,
    ceiling: random.chance(0.1) ? Math.floor(completion_tokens / 2) : completion_tokens + random.below(100),
    delay_ms: random.below(30),
    refund_percent: random.chance(0.3) ? 1 + random.below(100) : null,
    metadata: random.chance(0.4) ? { team: random.pick(['a', 'b']), [random.pick(['env', "it's"])]: '' } : null,
    service_tier: random.chance(0.3) ? 'flex' : 'default',
  }
}

function admitItem(plan: Plan) {
  const { request_id, payer, ttl_ms, metadata, service_tier } = plan
  const flex = service_tier === 'flex' && { service_tier }
  const tokens = { prompt_tokens_max: plan.prompt_tokens, request_output_tokens_max: plan.ceiling }
  return { request_id, key_hash: payer.key_hash, model: 'm', ...tokens, ttl_ms, ...(metadata && { metadata }), ...flex }
}

function ticketOf(
  { request_id, payer }: Plan,
  { reserved_nanousd, price_version }: Pick<Admitted, 'reserved_nanousd' | 'price_version'>,
) {
  const { account_id, key_id } = payer
  return { request_id, account_id, key_id, model: 'm', attempt: 1, price_version, reserved_nanousd }
}

function counts({ prompt_tokens, cached_tokens, completion_tokens }: Plan) {
  return {
    prompt_tokens,
    cached_tokens,
    completion_tokens,
    delivered_tokens: completion_tokens,
    outcome: 'stop',
    started_unix_ms: 0,
    first_token_ms: null,
    duration_ms: 1,
  }
}

const numbers = { context_tokens: 1, running: 0, waiting: 0, blocks_total: 1, blocks_free: 1 }
const node = { node_id: 'n', url: 'http://n', model: 'm', state: 'ready', ...numbers }
