// What runs in the background, in the random histories of the ledger: responses and batches as jobs that are finished, lost, given back and
// cancelled, and webhooks whose senders drop what they hold. Any history's workers carry on what any other began, as in the service.

import { randomBytes, randomUUID } from 'node:crypto'
import type postgres from 'postgres'
import type { FunctionName } from '../../gateway/db/functions.ts'
import type { Told } from './boundary.ts'
import type { Payer } from './postgres.ts'
import type { Random } from './random.ts'

const NEVER_MS = 6 * 3_600_000
const NODE = { node_id: 'worker', key: 'key of the worker' }
const LEASE_MS = 40 // of who sends webhooks: what one drops the next one sends
const DELIVERED = 4
const BILLED_AHEAD_MAX = 8
const COUNTS = { prompt_tokens: 9, cached_tokens: 2, completion_tokens: 17 }
const ADMISSION = { prompt_tokens_max: 10, request_output_tokens_max: 20, choices: 1 }
const TYPES = ['completed', 'incomplete', 'failed', 'cancelled'].map((state) => `response.${state}`)
const EVENT_TYPES = [...TYPES, 'batch.completed', 'batch.failed', 'batch.cancelled', 'balance.topped_up']

export interface WorkOptions {
  ask: <N extends FunctionName>(name: N, item: object) => Promise<Told<N>>
  query: (query: (sql: postgres.Sql) => Promise<postgres.Row[]>) => Promise<postgres.Row[]>
}

/** What of a history runs in the background. */
export interface Work {
  accounts: string[]
  responses: string[] // jobs
  batches: string[]
}

type Taken = Told<'take_job'>

interface Attempt {
  taken: Taken
  ticket: object | null // null where it was not admitted
}

export class WorkHistories {
  readonly #ask: WorkOptions['ask']
  readonly #query: WorkOptions['query']
  readonly #attempts = new Map<string, string[]>() // requests by job

  constructor({ ask, query }: WorkOptions) {
    this.#ask = ask
    this.#query = query
  }

  /** A node that never falls silent. */
  async prepare(): Promise<void> {
    await this.#ask('create_node', { id: NODE.node_id, url: 'http://worker', model: 'm', key: NODE.key, replace: true })
    await this.#query(
      (sql) => sql`update registered_nodes set state = 'ready', last_seen_at = 'infinity', context_tokens = 1,
      running = 0, waiting = 0, blocks_total = 1, blocks_free = 1 where id = ${NODE.node_id}`,
    )
  }

  async begin(random: Random, payers: Payer[]): Promise<Work> {
    const work: Work = { accounts: payers.map(({ account_id }) => account_id), responses: [], batches: [] }
    for (const payer of payers) await this.#newEndpoint(payer)
    for (let i = 0; i < 1 + random.below(4); i += 1) {
      const job_id = randomUUID()
      const { decision } = await this.#create(random.pick(payers).key_hash, job_id, { kind: 'response' })
      if (decision === 'created') work.responses.push(job_id)
    }
    if (random.chance(0.7)) work.batches.push(await this.#newBatch(random.pick(payers)))
    return work
  }

  /** Carries on whatever waits, until nothing of this work does; then what went otherwise than it must, one line each. */
  async finish(work: Work, random: Random, payers: Payer[]): Promise<string[]> {
    for (let cancels = random.below(3); !(await this.#hasEnded(work)); cancels -= 1) {
      await Promise.all([this.#carryJob(random), this.#carryBatch(random), this.#send(random)])
      if (cancels > 0) await this.#cancelSome(work, random, payers)
    }
    return [
      ...(await this.#jobFindings(work)),
      ...(await this.#batchFindings(work)),
      ...(await this.#eventFindings(work)),
    ]
  }

  async #newEndpoint({ key_hash, account_id }: Payer): Promise<void> {
    await this.#query(
      (sql) => sql`update keys set scopes = array['generate', 'usage', 'webhooks'] where account_id = ${account_id}`,
    )
    const secret = { sealed: sealed(), sealed_by: 's', hint: 'h', public_key: null }
    const endpoint = { name: 'e', url: 'https://e', event_types: EVENT_TYPES, signature_type: 'hmac' }
    await this.#ask('create_webhook_endpoint', { key_hash, created_by: randomUUID(), ...endpoint, ...secret })
  }

  #create(key_hash: string, job_id: string, kind: { kind: 'response' | 'batch'; owner?: string }) {
    const parts = { request: sealed(), input: kind.kind === 'batch' ? null : sealed(), head: null }
    const room = { window_s: 3600, account_bytes_max: 1e6 }
    return this.#ask('create_job', { key_hash, job_id, ...kind, model: 'm', admission: ADMISSION, ...parts, ...room })
  }

  async #newBatch({ key_hash, account_id }: Payer): Promise<string> {
    const made = { key_hash, created_by: randomUUID() }
    const part = { id: randomUUID(), bytes: 10 }
    const room = { bytes_max: 100, account_bytes_max: 1e6 }
    const { file_id } = await this.#ask('begin_file', { ...made, part_id: part.id, ...room })
    const last = { filename: 'f', purpose: 'batch', expires_after_s: 3600 }
    await this.#ask('finish_file', { account_id, file_id, part, ...last })
    const { batch } = await this.#ask('create_batch', {
      ...{ key_hash, created_by: randomUUID(), input_file_id: file_id, endpoint: '/v1/completions' },
      ...{ metadata: null, output_expires_after_s: 3600 },
    })
    return batch.id
  }

  /** A node takes the next job, whoever's it is, and one of the things becomes of it that can. */
  async #carryJob(random: Random): Promise<void> {
    const taken = await this.#ask('take_job', { ...NODE, take_id: randomUUID(), sent_unix_ms: Date.now() })
    if (taken.decision !== 'taken') return void (await this.#ask('tend_jobs', { count_max: 20 }))
    const known = this.#attempts.get(taken.job_id) ?? []
    this.#attempts.set(taken.job_id, [...known, taken.request_id])
    const attempt = { taken, ticket: await this.#admit(taken) }
    if (attempt.ticket === null) return this.#giveBack(attempt, REFUSED)
    const fate = random.below(10)
    if (fate < 6) return this.#bringToItsEnd(attempt, 1 + random.below(2))
    if (fate < 8) return this.#lose(attempt, { is_late: random.chance(0.5) })
    await this.#settle(attempt, 'error', 0)
    return this.#giveBack(attempt, { counts: true, error: null, status_code: null })
  }

  async #admit({ request_id, key_hash, model, admission }: Taken): Promise<object | null> {
    const item = { request_id, key_hash, model, ...admission, ttl_ms: NEVER_MS, registered_nodes: true }
    const { decision, account_id, key_id, price_version, reserved_nanousd } = await this.#ask('admit', item)
    if (decision !== 'admitted') return null
    return { request_id, account_id, key_id, model, attempt: 1, price_version, reserved_nanousd }
  }

  #settle({ ticket }: Attempt, outcome: string, delivered_tokens: number) {
    const times = { started_unix_ms: 0, first_token_ms: null, duration_ms: 1 }
    return this.#ask('settle', { ...ticket, ...COUNTS, delivered_tokens, outcome, ...times })
  }

  async #bringToItsEnd(attempt: Attempt, repeats: number): Promise<void> {
    await this.#settle(attempt, 'stop', COUNTS.completion_tokens)
    const told = { state: 'completed', status_code: 200, usage: COUNTS, delivered_tokens: DELIVERED }
    const item = { ...attemptOf(attempt), ...told, result: sealed(), account_bytes_max: 1e6 }
    await Promise.all(Array.from({ length: repeats }, () => this.#ask('end_job', item)))
  }

  /** Its node is not heard of any more, or only once the job was offered again. */
  async #lose(attempt: Attempt, { is_late }: { is_late: boolean }): Promise<void> {
    const { job_id, request_id } = attempt.taken
    if (!is_late) await this.#settle(attempt, 'node_lost', DELIVERED)
    await this.#query(
      (sql) => sql`update jobs set leased_until = clock_timestamp() - interval '1 ms'
      where id = ${job_id} and request_id = ${request_id} and state = 'running'`,
    )
    await this.#ask('tend_jobs', { count_max: 20 })
    if (is_late) await this.#settle(attempt, 'node_lost', DELIVERED)
  }

  async #giveBack(attempt: Attempt, why: object): Promise<void> {
    await this.#ask('return_job', { ...attemptOf(attempt), delay_ms: 0, ...why })
  }

  async #cancelSome({ responses, batches }: Work, random: Random, payers: Payer[]): Promise<void> {
    const [job_id, batch_id] = [random.pick(responses), random.pick(batches)]
    for (const { key_hash } of payers) {
      if (job_id) await this.#ask('cancel_job', { key_hash, job_id })
      if (batch_id && random.chance(0.3)) await this.#ask('cancel_batch', { key_hash, batch_id })
    }
  }

  /** A worker takes a step of a batch, whoever's it is, or drops it. */
  async #carryBatch(random: Random): Promise<void> {
    const ids = { lease: randomUUID(), output_part_id: randomUUID(), error_part_id: randomUUID() }
    const step = await this.#ask('claim_batch', ids)
    if (step.decision !== 'claimed') return
    const leased = { batch_id: step.batch_id, lease: ids.lease }
    if (random.chance(0.2))
      return void (await this.#query(
        (sql) => sql`update batches set leased_until = clock_timestamp() - interval '1 ms'
        where id = ${step.batch_id} and lease = ${ids.lease}`,
      ))
    if (step.step === 'validate') {
      const lines = Array.from({ length: 1 + random.below(4) }, (_, number) => lineOf(number + 1))
      const read = { read_bytes: 10, read_lines: lines.length, model: 'm', errors: [], is_end: true }
      await this.#ask('note_lines', { ...leased, ...read, lines })
    } else if (step.step === 'offer') await this.#offer(step, leased)
    else {
      const [output, error] = [ids.output_part_id, ids.error_part_id].map((id) => ({ id, bytes: 5 }))
      await this.#ask('note_results', { ...leased, numbers: step.lines.map(({ number }) => number), output, error })
    }
  }

  async #offer({ lines, key_hash }: Told<'claim_batch'>, leased: { batch_id: string }): Promise<void> {
    const [offered, refused]: [number[], object[]] = [[], []]
    for (const { number, job_id } of lines) {
      const { decision } = await this.#create(key_hash, job_id, { kind: 'batch', owner: leased.batch_id })
      if (decision === 'created') offered.push(number)
      else refused.push({ number, refusal: { status_code: 429, error: { code: decision, message: '' } } })
    }
    await this.#ask('note_offers', { ...leased, offered, refused, wait_ms: 0 })
  }

  /** A sender takes what is due, whoever's it is: some of it comes, some is refused, some is dropped with the sender. */
  async #send(random: Random): Promise<void> {
    const many = { count_max: 20, slow_max: 5, lease_ms: LEASE_MS, deliveries_max: 20 }
    const { endpoints } = await this.#ask('claim_deliveries', many)
    for (const { endpoint_id, lease, deliveries } of endpoints) {
      for (const [place, { delivery_id, tries }] of deliveries.entries()) {
        const status = random.pick([200, 200, 200, 500, null])
        if (status === null) break
        const said = { answer: null, retry_after_s: null, started_unix_ms: Date.now(), duration_ms: 1, error: null }
        const attempt = { delivery_id, tries, status, ...said }
        await this.#ask('note_attempt', { endpoint_id, lease, releases: place === deliveries.length - 1, attempt })
      }
    }
    await this.#query(
      (sql) => sql`update webhook_deliveries set due_at = clock_timestamp() where state = 'pending' and tries > 0`,
    )
  }

  async #hasEnded({ accounts, responses, batches }: Work): Promise<boolean> {
    const [row] = await this.#query(
      (sql) => sql`select
      exists (select from jobs where id = any (${`{${responses}}`}::uuid[]) and state in ('queued', 'running'))
      or exists (select from batches where id = any (${`{${batches}}`}::bigint[]) and state not in ('completed', 'failed', 'cancelled'))
      or exists (select from webhook_deliveries where account_id = any (${`{${accounts}}`}::bigint[]) and state = 'pending') as is_open`,
    )
    return !row!.is_open
  }

  /** Each response is paid once where it has ended, and has told of that once. */
  async #jobFindings({ responses }: Work): Promise<string[]> {
    const rows = await this.#query(
      (sql) => sql`
      select j.*, (select count(*)::int from outbox o where o.account_id = j.account_id and type = 'response.' || j.state
        and body::jsonb -> 'data' ->> 'id' = 'resp_' || replace(j.id::text, '-', '')) as told
      from jobs j where id = any (${`{${responses}}`}::uuid[])`,
    )
    const findings = rows
      .filter(({ told }) => told !== 1)
      .map(({ id, told }) => `job ${id} told of its end ${told} times`)
    if (rows.length !== responses.length) findings.push('a job is not there any more')
    for (const { id, state, request_id } of rows) findings.push(...(await this.#paidFindings(id, state, request_id)))
    return findings
  }

  async #paidFindings(job_id: string, state: string, last_id: string | null): Promise<string[]> {
    const paid = await this.#paidFor(job_id)
    const findings = paid
      .filter(({ request_id, nanousd }) => nanousd !== 0n && (request_id !== last_id || state === 'failed'))
      .map(({ request_id }) => `attempt ${request_id} of a job that is ${state} was paid`)
    const last = paid.find(({ request_id }) => request_id === last_id)
    if (state === 'completed' && last?.nanousd !== last?.cost) findings.push(`job ${job_id} was paid ${last?.nanousd}`)
    if (state === 'cancelled' && last && last.nanousd > last.seen_cost) findings.push(`cancelled for ${last.nanousd}`)
    return findings
  }

  /** What is paid for each attempt of a job that has a receipt, beside what that says and what of it at most was seen. */
  async #paidFor(job_id: string) {
    const ids = this.#attempts.get(job_id) ?? []
    const rows = await this.#query(
      (sql) => sql`
      select u.request_id, u.cost_nanousd as cost, (api.read_usage(jsonb_build_array(jsonb_build_object('operator', true, 'request_id', u.request_id))) -> 'usage' ->> 'cost_nanousd') as receipt,
        ledger.cost_nanousd(p, u.prompt_tokens, u.cached_tokens, least(u.completion_tokens, ${DELIVERED + BILLED_AHEAD_MAX})) as seen,
        (select sum(case kind when 'refund' then -amount_nanousd else amount_nanousd end) from entries e
          where e.request_id = u.request_id) as paid
      from usage u join reservations r using (request_id) join prices p on p.model = r.model and p.version = r.price_version
      where u.request_id = any (${`{${ids}}`}::uuid[])`,
    )
    return rows.map((row) => {
      if (row.receipt !== row.cost)
        throw new Error(`the receipt of ${row.request_id} says ${row.receipt}, not ${row.cost}`)
      const [nanousd, cost, seen_cost] = [BigInt(row.paid), BigInt(row.cost), BigInt(row.seen)]
      return { request_id: row.request_id as string, nanousd, cost, seen_cost }
    })
  }

  /** Each line that was answered is paid once, no other is, and the batch counts and tells what is so. */
  async #batchFindings({ batches }: Work): Promise<string[]> {
    const findings: string[] = []
    for (const batch_id of batches) {
      const [batch] = await this.#query(
        (sql) => sql`
        select b.*, (select count(*)::int from outbox o where o.account_id = b.account_id and type = 'batch.' || b.state
          and body::jsonb -> 'data' ->> 'id' = 'batch_' || b.id) as told
        from batches b where id = ${batch_id}`,
      )
      const lines = await this.#query((sql) => sql`select job_id, state from batch_lines where batch_id = ${batch_id}`)
      const paid = await Promise.all(lines.map(async ({ job_id }) => this.#paidFor(job_id)))
      const answered = paid.filter((attempts) => attempts.filter(({ nanousd }) => nanousd > 0n).length === 1).length
      if (paid.some((attempts) => attempts.filter(({ nanousd }) => nanousd > 0n).length > 1))
        findings.push('a line was paid twice')
      if (Number(batch!.completed_lines) !== answered)
        findings.push(`${answered} lines paid, ${batch!.completed_lines} completed`)
      if (Number(batch!.completion_tokens) !== answered * COUNTS.completion_tokens)
        findings.push('a batch counts otherwise')
      if (batch!.told !== 1) findings.push(`batch ${batch_id} told of its end ${batch!.told} times`)
    }
    return findings
  }

  /** Each event that its endpoint wants came once, and each top-up is one. */
  async #eventFindings({ accounts }: Work): Promise<string[]> {
    const lost = await this.#query(
      (sql) => sql`
      select o.id from outbox o join webhook_endpoints e on e.account_id = o.account_id and o.created_at > e.created_at
      where o.account_id = any (${`{${accounts}}`}::bigint[]) and type = any (e.event_types)
        and (select count(*) from webhook_deliveries d where d.event_id = o.id and d.endpoint_id = e.id and state = 'delivered') <> 1`,
    )
    const topped = await this.#query(
      (sql) => sql`
      select a.id from accounts a where id = any (${`{${accounts}}`}::bigint[])
        and (select count(*) from entries where account_id = a.id and kind = 'top_up')
          <> (select count(*) from outbox where account_id = a.id and type = 'balance.topped_up')`,
    )
    return [
      ...lost.map(({ id }) => `event ${id} did not come once`),
      ...topped.map(({ id }) => `account ${id} has other top-ups than events`),
    ]
  }
}

const REFUSED = { counts: false, error: { message: '', type: 't', param: null, code: null }, status_code: 429 }

function attemptOf({ taken: { job_id, request_id } }: Attempt) {
  return { ...NODE, job_id, request_id }
}

function lineOf(number: number) {
  return { number, begins_at: number, bytes: 1, custom_id_hash: number.toString(16).padStart(64, '0') }
}

function sealed(): string {
  return randomBytes(8).toString('base64')
}
