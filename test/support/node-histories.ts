// Random histories of a node and its ledger: a real journal on a disk that fills up and damages bytes, its reports, and a real
// Postgres that comes back as it was at an earlier moment. After each one the books must balance, and every request must cost what
// its client was given of it, once. Beside histories.ts, where many calls meet in one database that loses nothing.

import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import postgres from 'postgres'
import type { Outcome } from '../../contract/internal/generation.ts'
import type { UsageRecord } from '../../contract/internal/sync.ts'
import { Journal, type StepCounts } from '../../gpu-node/meter/journal.ts'
import { migrate } from '../../local/migrate.ts'
import { type RunningPostgres, startPostgres } from '../../local/postgres.ts'
import { type Ask, askOver, ledgerFindings, newPayerBy, type Payer } from './postgres.ts'
import { type Random, randomFrom } from './random.ts'

type Ticket = Record<string, unknown> & { request_id: string; account_id: string }

interface Generation {
  ticket: Ticket
  counts: StepCounts
  /** It was accepted by the journal, and is not over. */
  is_open: boolean
  /** What its node said of it. More than one thing where damage took its end before that was acknowledged: one of them counts. */
  readonly reported: UsageRecord[]
  is_acknowledged: boolean
  /** The whole prompt, counted from the first step on. */
  prompt: { prompt_tokens: number; cached_tokens: number }
}

const INPUT_NANOUSD = 3n
const CACHED_NANOUSD = 1n
const OUTPUT_NANOUSD = 7n

/** A Postgres whose database can be kept as it is, and brought back later. */
export class RestorableLedger {
  readonly #server: RunningPostgres
  readonly #folder: string
  #sql: postgres.Sql | null = null
  #copies = 0
  #reports = 0

  private constructor(server: RunningPostgres, folder: string) {
    this.#server = server
    this.#folder = folder
  }

  static async start(): Promise<RestorableLedger> {
    const folder = mkdtempSync(join(tmpdir(), 'ziya-restorable-'))
    const server = await startPostgres({ data_dir: join(folder, 'data'), durable: false })
    const ledger = new RestorableLedger(server, folder)
    await ledger.#administer((sql) => sql`create database live`)
    await migrate(ledger.#url('live'))
    await ledger.ask('publish_price', {
      model: 'm',
      input_nanousd_per_token: String(INPUT_NANOUSD),
      cached_input_nanousd_per_token: String(CACHED_NANOUSD),
      output_nanousd_per_token: String(OUTPUT_NANOUSD),
    })
    const { id, url, model, key } = node
    await ledger.ask('create_node', { id, url, model, key })
    await ledger.ask('hear_node', ledger.report())
    return ledger
  }

  get sql(): postgres.Sql {
    this.#sql ??= postgres(this.#url('live'), { max: 2, prepare: false, fetch_types: false, onnotice: () => {} })
    return this.#sql
  }

  /** What its node says of itself, each time anew. */
  report() {
    const { id: node_id, ...told } = node
    const own = { report_id: randomUUID(), sequence: ++this.#reports, sent_unix_ms: Date.now(), running_ids: [] }
    return { node_id, ...told, ...condition, ...boot, ...own }
  }

  get ask(): Ask {
    return (name, ...items) => askOver(this.sql)(name, ...items)
  }

  /** Keeps the database as it is now; returns the copy's name. */
  async keep(): Promise<string> {
    const copy = `copy_${++this.#copies}`
    await this.#disconnect()
    await this.#administer((sql) => sql`create database ${sql(copy)} template live strategy file_copy`)
    return copy
  }

  /** Brings it back as it was when that copy was made. */
  async restore(copy: string): Promise<void> {
    await this.#disconnect()
    await this.#administer(async (sql) => {
      await sql`drop database live with (force)`
      await sql`create database live template ${sql(copy)} strategy file_copy`
    })
  }

  async forget(copies: readonly string[]): Promise<void> {
    for (const copy of copies) await this.#administer((sql) => sql`drop database ${sql(copy)} with (force)`)
  }

  async stop(): Promise<void> {
    await this.#disconnect()
    await this.#server.stop()
    rmSync(this.#folder, { recursive: true, force: true })
  }

  async #disconnect(): Promise<void> {
    await this.#sql?.end({ timeout: 1 })
    this.#sql = null
  }

  async #administer(act: (sql: postgres.Sql) => Promise<unknown>): Promise<void> {
    const sql = postgres(this.#server.url, { max: 1, prepare: false, fetch_types: false, onnotice: () => {} })
    await act(sql)
    await sql.end({ timeout: 1 })
  }

  #url(database: string): string {
    return this.#server.url.replace(/[^/]*$/, database)
  }
}

export interface Happened {
  engine_failures: number
  revocations: number
  losses: number
  damages: number
  refusals: number
  restores: number
}

export const nothing = (): Happened => ({
  engine_failures: 0,
  revocations: 0,
  losses: 0,
  damages: 0,
  refusals: 0,
  restores: 0,
})

/** One history, drawn from its seed. Returns what went otherwise than it must, one line each. */
export async function nodeHistory(ledger: RestorableLedger, seed: number, happened: Happened): Promise<string[]> {
  const history = new NodeHistory(ledger, randomFrom(seed), happened)
  try {
    return await history.run()
  } finally {
    await history.end()
  }
}

class NodeHistory {
  readonly #ledger: RestorableLedger
  readonly #random: Random
  readonly #happened: Happened
  readonly #folder = mkdtempSync(join(tmpdir(), 'ziya-node-history-'))
  readonly #disk: { refusal: string | null } = { refusal: null }
  readonly #generations = new Map<string, Generation>()
  readonly #copies: string[] = []
  #payers: Payer[] = []
  #was_damaged = false
  #journal: Journal

  constructor(ledger: RestorableLedger, random: Random, happened: Happened) {
    this.#ledger = ledger
    this.#random = random
    this.#happened = happened
    this.#journal = this.#openJournal()
  }

  async run(): Promise<string[]> {
    for (let i = 0; i < 2; i++) this.#payers.push(await newPayerBy(this.#ledger.ask, 10_000_000n))
    const restores_at = this.#random.chance(0.6) ? 5 + this.#random.below(40) : null
    const kept_at = restores_at === null ? null : this.#random.below(restores_at)
    for (let i = 0; i < 50; i++) {
      if (i === kept_at) this.#copies.push(await this.#ledger.keep())
      if (i === restores_at) await this.#restore()
      await this.#act()
    }
    return this.#conclude()
  }

  async end(): Promise<void> {
    this.#disk.refusal = null
    this.#journal.close()
    rmSync(this.#folder, { recursive: true, force: true })
    await this.#ledger.forget(this.#copies)
  }

  async #act(): Promise<void> {
    const random = this.#random
    const what = random.below(100)
    if (what < 25) await this.#begin()
    else if (what < 55) this.#step()
    else if (what < 65) this.#finishSome(['stop', 'length', 'client_gone', 'deadline'])
    else if (what < 69) this.#failEngine()
    else if (what < 73) this.#revoke()
    else if (what < 78) this.#loseNode(false)
    else if (what < 82) this.#loseNode(true)
    else if (what < 85) this.#disk.refusal = random.pick(['ENOSPC', 'EIO'])
    else if (what < 88) await this.#ledger.ask('expire', { count_max: 100 })
    else await this.#report()
    if (this.#disk.refusal !== null && random.chance(0.4)) this.#freeDisk()
  }

  async #begin(): Promise<void> {
    const payer = this.#random.pick(this.#payers)
    const request_id = randomUUID()
    const limits = { prompt_tokens_max: 300, request_output_tokens_max: 300 }
    const ttl_ms = this.#random.chance(0.2) ? 1 : 3_600_000
    await this.#ledger.ask('hear_node', this.#ledger.report()) // that it lives
    const wish = { request_id, key_hash: payer.key_hash, model: 'm', ...limits, ttl_ms, registered_nodes: true }
    const [admitted] = await this.#ledger.ask('admit', wish)
    assert.equal(admitted!.decision, 'admitted')
    const { price_version, reserved_nanousd } = admitted!
    const { account_id, key_id } = payer
    const ticket = { request_id, account_id, key_id, model: 'm', attempt: 1, price_version, reserved_nanousd }
    const is_open = this.#journal.accept({
      ticket: JSON.stringify(ticket),
      request_id,
      attempt: 1,
      duration_ms_max: 1000,
    })
    if (!is_open) this.#happened.refusals += 1
    const prompt_tokens = 1 + this.#random.below(300)
    const none = { prompt_tokens: 0, cached_tokens: 0, completion_tokens: 0, delivered_tokens: 0 }
    this.#generations.set(request_id, {
      ticket,
      counts: { request_id, attempt: 1, ...none, first_token_ms: null, duration_ms: 0 },
      is_open,
      reported: [],
      is_acknowledged: false,
      prompt: { prompt_tokens, cached_tokens: this.#random.below(prompt_tokens + 1) },
    })
  }

  /** One or more tokens each; what was made before is delivered by now, or a part of it. */
  #step(): void {
    if (!this.#journal.is_written) return // all streams pause
    const stepped = this.#open.filter(() => this.#random.chance(0.7))
    for (const { counts, prompt } of stepped) {
      counts.delivered_tokens += this.#random.below(counts.completion_tokens - counts.delivered_tokens + 1)
      counts.completion_tokens = Math.min(300, counts.completion_tokens + 1 + this.#random.below(4))
      Object.assign(counts, prompt)
    }
    this.#journal.step(
      stepped.map(({ counts }) => ({ ...counts })),
      [],
    )
  }

  #finishSome(outcomes: readonly Outcome[], part = 0.5): void {
    const ended = this.#open.filter(() => this.#random.chance(part))
    this.#journal.step(
      [],
      ended.map((generation) => this.#finished(generation, this.#random.pick(outcomes))),
    )
  }

  #finished(generation: Generation, outcome: Outcome): UsageRecord {
    const { counts, ticket } = generation
    generation.is_open = false
    if (['stop', 'length', 'deadline'].includes(outcome)) counts.delivered_tokens = counts.completion_tokens
    return { ...counts, ticket: JSON.stringify(ticket), outcome, started_unix_ms: 1 }
  }

  #failEngine(): void {
    this.#happened.engine_failures += 1
    this.#finishSome(['error'], 1)
  }

  #revoke(): void {
    this.#happened.revocations += 1
    this.#finishSome(['revoked'])
  }

  /** Killed; and then a byte of the file, or a few, is not as it was written. */
  #loseNode(is_damaged: boolean): void {
    this.#happened.losses += 1
    this.#disk.refusal = null // a node does not start over a disk that refuses
    for (const generation of this.#open) generation.is_open = false
    const file = join(this.#folder, 'journal.jsonl')
    // What the disk had refused dies with its process. The descriptor is left to the garbage collector, as SIGKILL leaves it.
    if (is_damaged) {
      this.#happened.damages += 1
      this.#was_damaged = true
      const bytes = readFileSync(file)
      const from = this.#random.below(bytes.length)
      for (let i = from; i < Math.min(bytes.length, from + 1 + this.#random.below(20)); i++)
        bytes[i]! ^= 1 + this.#random.below(255)
      writeFileSync(file, bytes)
    }
    this.#journal = this.#openJournal()
  }

  #freeDisk(): void {
    this.#disk.refusal = null
    this.#journal.retry()
  }

  async #restore(): Promise<void> {
    this.#happened.restores += 1
    await this.#ledger.restore(this.#random.pick(this.#copies))
  }

  /** What Sync and the gateway do with a report; now and then the answer is lost. */
  async #report(): Promise<void> {
    const records = this.#journal.unacknowledged(1 + this.#random.below(20))
    const journal = this.#journal.position
    const items = records.map(({ ticket, ...counts }) => ({ ...(JSON.parse(ticket) as Ticket), ...counts, journal }))
    const heard = await this.#ledger.ask('hear_node', { ...this.#ledger.report(), journal })
    const answers = [...heard, ...(items.length > 0 ? await this.#ledger.ask('settle', ...items) : [])]
    for (const record of records) this.#generations.get(record.request_id)!.reported.push(record)
    if (this.#random.chance(0.1)) return
    for (const record of records)
      this.#generations.get(record.request_id)!.is_acknowledged = this.#disk.refusal === null
    const marks = answers.map((answer) => answer.journal!)
    const mark = Math.max(...marks.map((counted) => counted.mark))
    if (marks.some(({ is_behind }) => is_behind)) this.#journal.resend(mark)
    this.#journal.acknowledge(records, mark)
  }

  async #conclude(): Promise<string[]> {
    this.#freeDisk()
    this.#finishSome(['stop'], 1)
    for (let reports = 0; this.#isUnreported(); reports++) {
      if (reports > 500) return ['what is to be reported never ends']
      await this.#report()
    }
    await this.#report() // that everything is told again is told, too
    await this.#ledger
      .sql`update reservations set expires_at = clock_timestamp() - interval '1 second' where state = 'pending'`
    await this.#ledger.ask('expire', { count_max: 1000 })
    const books = await ledgerFindings(
      this.#ledger.sql,
      this.#payers.map(({ account_id }) => account_id),
    )
    return [...books, ...(await this.#wrongCharges()), ...(await this.#wrongHealth())]
  }

  #isUnreported(): boolean {
    return this.#journal.unacknowledged(1).length > 0 || this.#journal.position.is_resending
  }

  /** Whatever was reported is charged by its record, once, whatever came in between; nothing else is charged. */
  async #wrongCharges(): Promise<string[]> {
    const rows = await this.#ledger.sql`
      select request_id::text, account_id, sum(amount_nanousd)::text as charge from entries
      where kind in ('usage', 'late_usage') group by request_id, account_id`
    const charged = new Map(rows.map((row) => [row.request_id as string, row]))
    return [...this.#generations].flatMap(([request_id, { reported, ticket, is_acknowledged }]) => {
      const row = charged.get(request_id)
      if (row && row.account_id !== ticket.account_id) return [`${request_id} was charged to another`]
      const expected = reported.map((record) => String(costOf(record)))
      // What was not acknowledged yet may be lost, where the disk damages it and the database forgets it.
      const may_be_lost = !is_acknowledged && this.#was_damaged && this.#copies.length > 0
      const is_right = row ? expected.includes(row.charge) : expected.length === 0 || may_be_lost
      return is_right ? [] : [`${request_id} (${reported.at(-1)?.outcome}) cost ${row?.charge}, not ${expected}`]
    })
  }

  async #wrongHealth(): Promise<string[]> {
    let after: string | null = '0'
    while (after !== null) after = await this.#reconcileFrom(after)
    const [health] = await this.#ledger.ask('ledger_health', { findings: true })
    const kinds = await this.#ledger.sql`
      select distinct kind from anomalies where request_id::text = any (${`{${[...this.#generations.keys()]}}`}::text[])`
    const failing = Object.entries(health!.checks).filter(([, { findings }]) => findings > 0)
    const anomalies = kinds
      .map(({ kind }) => kind as string)
      .filter((kind) => kind !== 'conflict' || !this.#was_damaged)
    return [
      ...failing.map(([name]) => `the check ${name} does not hold: ${JSON.stringify(health!.findings)}`),
      ...(health!.journals_behind > 0 ? ['a journal is behind that has told everything'] : []),
      ...anomalies.map((kind) => `there is an anomaly: ${kind}`),
    ]
  }

  async #reconcileFrom(after: string): Promise<string | null> {
    const [step] = await this.#ledger.ask('reconcile', { after, entries_max: 10_000, anew: after === '0' })
    return step!.after
  }

  get #open(): Generation[] {
    return [...this.#generations.values()].filter(({ is_open }) => is_open)
  }

  #openJournal(): Journal {
    const write = ((...args: Parameters<typeof writeSync>) => {
      if (this.#disk.refusal) throw Object.assign(new Error('refused'), { code: this.#disk.refusal })
      return writeSync(...args)
    }) as typeof writeSync
    return new Journal(this.#folder, { write, compact_bytes: 3000 })
  }
}

/** The rule of charging, written a second time: SQL has it in charged_counts. */
function costOf({ outcome, prompt_tokens, cached_tokens, completion_tokens, delivered_tokens }: UsageRecord): bigint {
  const is_whole = outcome === 'stop' || outcome === 'length'
  if (!is_whole && delivered_tokens === 0) return 0n
  const paid = outcome === 'client_gone' ? delivered_tokens + 8 : delivered_tokens
  const output = is_whole ? completion_tokens : Math.min(completion_tokens, paid)
  return (
    INPUT_NANOUSD * BigInt(prompt_tokens - cached_tokens) +
    CACHED_NANOUSD * BigInt(cached_tokens) +
    OUTPUT_NANOUSD * BigInt(output)
  )
}

const node = { id: 'n', url: 'http://n', model: 'm', key: 'k'.repeat(43) }
const condition = { state: 'ready', context_tokens: 1, running: 0, waiting: 0, blocks_total: 1, blocks_free: 1 }
const boot = { boot_id: randomUUID(), folder_id: randomUUID(), boot_number: 1 }
