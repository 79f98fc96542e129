// Facts of the ledger's SQL, one by one. What happens when many come at once is in histories.test.ts.

import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { FunctionName } from '../../gateway/db/functions.ts'
import {
  grantFindings,
  ledgerFindings,
  newKey,
  newPayer,
  type Payer,
  startTestPostgres,
  type TestPostgres,
} from '../support/postgres.ts'

let db: TestPostgres
let payer: Payer

beforeAll(async () => {
  db = await startTestPostgres()
  await db.ask('publish_price', price('m', 2, 5), price('nodeless', 2, 5))
  await db.ask('settle', { node: node('ready-node', 'ready') }, { node: node('draining-node', 'draining') })
  await db.sql`update nodes set last_seen_at = 'infinity'`
})
afterAll(() => db?.stop())
beforeEach(async () => {
  payer = await newPayer(db, 1000n)
})

function price(model: string, input: number, output: number) {
  return { model, input_nanousd_per_token: String(input), output_nanousd_per_token: String(output) }
}

function node(node_id: string, state: string) {
  const numbers = { context_tokens: 9, running: 1, waiting: 2, blocks_total: 3, blocks_free: 3 }
  return { node_id, url: `http://${node_id}`, model: 'm', state, ...numbers }
}

function wish(own: object = {}) {
  const tokens = { prompt_tokens_max: 10, request_output_tokens_max: 20 }
  return { request_id: randomUUID(), key_hash: payer.key_hash, model: 'm', ...tokens, ttl_ms: 60_000, ...own }
}

async function admit(own: object = {}) {
  const item = wish(own)
  const [answer] = await db.ask('admit', item)
  return { ...answer!, request_id: item.request_id, model: 'm', attempt: 1 }
}

const counts = {
  prompt_tokens: 10,
  cached_tokens: 0,
  completion_tokens: 4,
  delivered_tokens: 4,
  outcome: 'stop',
  started_unix_ms: 1_700_000_000_123,
  first_token_ms: 1.5,
  duration_ms: 7,
}

const decisions = (answers: { decision: string }[]) => answers.map(({ decision }) => decision)

async function credited(): Promise<number> {
  const [row] = await db.sql`select credited_nanousd from accounts where id = ${payer.account_id}`
  return Number(row!.credited_nanousd)
}

async function balance() {
  const [row] = await db.sql`select * from accounts where id = ${payer.account_id}`
  return { debited: row!.debited_nanousd, pending: row!.pending_nanousd, late: row!.late_nanousd }
}

describe('admit', () => {
  test('reserves the ceiling at the price of now, and says who, for how much and where', async () => {
    expect(await admit()).toMatchObject({
      decision: 'admitted',
      account_id: payer.account_id,
      key_id: payer.key_id,
      price_version: 1,
      reserved_nanousd: '120',
      balance_nanousd: '1000',
      nodes: [{ id: 'ready-node', url: 'http://ready-node', running: 1, waiting: 2 }],
    })
    expect(await balance()).toEqual({ debited: '0', pending: '120', late: '0' })
  })

  test('goes by the price that has begun: the account’s own, else the one for all', async () => {
    const begins = (ms: number) => ({ valid_from: new Date(Date.now() + ms).toISOString() })
    await db.sql`insert into nodes select 'of ' || m, url, m, state, context_tokens, running, waiting, blocks_total, blocks_free, last_seen_at
      from nodes, unnest(array['later', 'own later']) as m where id = 'ready-node'`
    await db.ask('publish_price', price('later', 1, 1), { ...price('later', 9, 9), ...begins(3_600_000) })
    await db.ask('publish_price', price('own later', 1, 1), {
      ...price('own later', 9, 9),
      account_id: payer.account_id,
      ...begins(3_600_000),
    })
    const versions = async () => [
      (await admit({ model: 'later' })).reserved_nanousd,
      (await admit({ model: 'own later' })).reserved_nanousd,
    ]
    expect(await versions()).toEqual(['30', '30'])
    await db.ask('publish_price', { ...price('own later', 2, 2), account_id: payer.account_id })
    expect(await versions()).toEqual(['30', '60'])
  })

  test('says no price of a model that has none yet', async () => {
    await db.ask('publish_price', { ...price('next year', 1, 1), valid_from: '2099-01-01T00:00:00.000Z' })
    const [answer] = await db.ask('read_prices', { key_hash: payer.key_hash })
    expect(answer!.prices).toMatchObject({ m: { model: 'm', account_id: null } })
    expect(Object.keys(answer!.prices)).not.toContain('next year')
  })

  test('refuses in order: key, scope, model, price, money, nodes', async () => {
    const past = { expires_at: '2020-01-01T00:00:00Z' }
    const key = async (own: object) => (await newKey(db, payer.account_id, own)).key_hash
    const poor = (await newPayer(db, 0n)).key_hash
    const revoked = await newKey(db, payer.account_id, { ...past, scopes: ['usage'] })
    await db.ask('revoke_key', { operator: true, key_id: revoked.key_id })
    const wishes = [
      wish({ key_hash: '00'.repeat(32) }),
      wish({ key_hash: revoked.key_hash }),
      wish({ key_hash: await key({ ...past, scopes: ['usage'] }) }),
      wish({ key_hash: await key({ scopes: ['usage'], models: ['other'] }) }),
      wish({ key_hash: await key({ models: ['other'] }), model: 'priceless' }),
      wish({ key_hash: poor, model: 'priceless' }),
      wish({ key_hash: poor, model: 'nodeless' }),
      wish({ model: 'nodeless' }),
    ]
    expect(decisions(await db.ask('admit', ...wishes))).toEqual([
      'unknown_key',
      'revoked_key',
      'expired_key',
      'missing_scope',
      'model_not_allowed',
      'no_price',
      'insufficient_quota',
      'no_node',
    ])
    expect(await balance()).toEqual({ debited: '0', pending: '0', late: '0' })
  })

  test('asked again by the same request id gives the same answer and holds once', async () => {
    const item = wish()
    const [first] = await db.ask('admit', item)
    expect(await db.ask('admit', item, item)).toEqual([first, first])
    expect((await balance()).pending).toBe('120')
  })

  test('that comes twice in one call is held once', async () => {
    const item = wish()
    const [first, second] = await db.ask('admit', item, item)
    expect(first).toMatchObject({ decision: 'admitted' })
    expect(second).toEqual(first)
    expect((await balance()).pending).toBe('120')
  })

  test('asked again after its end, or by another key, is closed', async () => {
    const item = wish()
    const [ticket] = await db.ask('admit', item)
    const { key_hash } = await newKey(db, payer.account_id)
    expect(decisions(await db.ask('admit', { ...item, key_hash }))).toEqual(['closed'])
    await db.ask('void', { ...ticket, ...item, attempt: 1 })
    expect(decisions(await db.ask('admit', item))).toEqual(['closed'])
  })

  test('answers each item of a set in order, a refused one alone', async () => {
    const set = [
      wish({ request_output_tokens_max: 150 }),
      wish({ request_output_tokens_max: 150 }),
      wish({ request_output_tokens_max: 10 }),
    ]
    expect(decisions(await db.ask('admit', ...set))).toEqual(['admitted', 'insufficient_quota', 'admitted'])
  })

  test('spends to the last nano-USD and not one further', async () => {
    const whole = wish({ prompt_tokens_max: 0, request_output_tokens_max: 200 })
    const one = wish({ prompt_tokens_max: 1, request_output_tokens_max: 0 })
    expect(decisions(await db.ask('admit', whole, one))).toEqual(['admitted', 'insufficient_quota'])
  })

  test('of more tokens than money can count is refused, not an error', async () => {
    const most = Number.MAX_SAFE_INTEGER
    expect((await admit({ prompt_tokens_max: most, request_output_tokens_max: most })).decision).toBe(
      'insufficient_quota',
    )
  })

  test('sees no node that was silent for five seconds', async () => {
    await db.sql`update nodes set last_seen_at = clock_timestamp() - interval '5.1 seconds'`
    expect((await admit()).decision).toBe('no_node')
    await db.sql`update nodes set last_seen_at = 'infinity'`
  })
})

describe('settle', () => {
  test('turns a reservation into one entry and one usage row, and frees the rest', async () => {
    const ticket = await admit()
    expect(decisions(await db.ask('settle', { ...ticket, ...counts }))).toEqual(['posted'])
    expect(await balance()).toEqual({ debited: '40', pending: '0', late: '0' })
    const [usage] = await db.sql`select * from usage where request_id = ${ticket.request_id}`
    expect(usage).toMatchObject({ prompt_tokens: '10', completion_tokens: '4', cost_nanousd: '40', outcome: 'stop' })
    expect(usage!.started_at.getTime()).toBe(1_700_000_000_123)
  })

  test('keeps who counted, which its receipt says; where nobody says it was our own engine', async () => {
    for (const usage_source of [undefined, 'upstream', 'counted', 'bounded']) {
      const held = await admit()
      const shown = () => db.ask('read_usage', { key_hash: payer.key_hash, request_id: held.request_id })
      expect(await shown()).toMatchObject([{ usage: { usage_source: null } }])
      await db.ask('settle', { ...held, ...counts, usage_source })
      expect(await shown()).toMatchObject([{ usage: { usage_source: usage_source ?? 'engine' } }])
    }
  })

  test('keeps what was tried for an answer that was verified, which its receipt says, and no other', async () => {
    const tried = { language: 'python', passed: true, candidates: 8, attempts: 1 }
    for (const verification of [undefined, tried]) {
      const held = await admit()
      await db.ask('settle', { ...held, ...counts, verification })
      const [shown] = await db.ask('read_usage', { key_hash: payer.key_hash, request_id: held.request_id })
      expect((shown as { usage: { verification?: object } }).usage.verification).toEqual(verification)
    }
  })

  test('of the same record twice in one set is a duplicate', async () => {
    const item = { ...(await admit()), ...counts }
    expect(decisions(await db.ask('settle', item, item))).toEqual(['posted', 'duplicate'])
  })

  test('is at the price of the reservation, whatever it costs since', async () => {
    const ticket = await admit()
    await db.ask('publish_price', price('m', 200, 500))
    await db.ask('settle', { ...ticket, ...counts })
    expect((await balance()).debited).toBe('40')
    await db.ask('publish_price', price('m', 2, 5))
  })

  test('of a superseded attempt is stale, before and after the right one', async () => {
    const ticket = await admit()
    const second = { ...ticket, attempt: 2 }
    expect(decisions(await db.ask('fence', second))).toEqual(['fenced'])
    const first = { ...ticket, ...counts, completion_tokens: 9 }
    expect(decisions(await db.ask('settle', first, { ...second, ...counts }, first))).toEqual([
      'stale',
      'posted',
      'stale',
    ])
  })

  test('is another attempt’s only while it is open, and never an earlier one’s again', async () => {
    const ticket = await admit()
    const fence = async (attempt: number) => (await db.ask('fence', { ...ticket, attempt }))[0]!.decision
    expect([await fence(2), await fence(2), await fence(1), await fence(4)]).toEqual([
      'fenced',
      'fenced',
      'closed',
      'closed',
    ])
    await db.ask('settle', { ...ticket, ...counts, attempt: 2 })
    expect(await fence(3)).toBe('closed')
  })

  test('of an account that is not the reservation’s is rejected', async () => {
    const ticket = await admit()
    const other = await newPayer(db, 10n)
    expect(decisions(await db.ask('settle', { ...ticket, ...counts, account_id: other.account_id }))).toEqual([
      'rejected',
    ])
  })

  test('never charges above the reservation; the rest is written down as an anomaly', async () => {
    const ticket = await admit()
    await db.ask('settle', { ...ticket, ...counts, completion_tokens: 1e12 })
    expect(await balance()).toEqual({ debited: '120', pending: '0', late: '0' })
    const anomalies = await db.sql`select kind from anomalies where request_id = ${ticket.request_id}`
    expect(anomalies.map(({ kind }) => kind)).toEqual(['above_reservation'])
  })

  test('after its reservation expired is late usage, even where the balance is gone', async () => {
    const ticket = await admit({ request_output_tokens_max: 196, ttl_ms: -1 })
    expect((await db.ask('expire', { count_max: 10 }))[0]!.count).toBeGreaterThan(0)
    const again = await admit({ request_output_tokens_max: 196 })
    expect(
      decisions(await db.ask('settle', { ...ticket, ...counts }, { ...again, ...counts, completion_tokens: 196 })),
    ).toEqual(['late', 'posted'])
    expect(await balance()).toEqual({ debited: '1040', pending: '0', late: '40' })
  })

  test('takes a node’s heartbeat in the same call', async () => {
    const set = [{ ...(await admit()), ...counts }, { node: node('ready-node', 'ready') }]
    expect(decisions(await db.ask('settle', ...set))).toEqual(['posted', 'seen'])
    await db.sql`update nodes set last_seen_at = 'infinity'`
  })
})

describe('what is charged', () => {
  const failed = ['error', 'revoked', 'node_lost', 'deadline'] as const

  /** Settles one of 10 prompt tokens, 4 of them cached, and 6 tokens of answer; returns what the ledger has of it. */
  async function settled(own: { outcome: string; delivered_tokens: number; completion_tokens?: number }) {
    const ticket = await admit({ request_output_tokens_max: 100 })
    const record = { ...ticket, ...counts, cached_tokens: 4, completion_tokens: 6, ...own }
    const first = decisions(await db.ask('settle', record, record))
    const [row] = await db.sql`
      select prompt_tokens::int, cached_tokens::int, completion_tokens::int, delivered_tokens::int, outcome, cost_nanousd
      from usage where request_id = ${ticket.request_id}`
    return { ...row, decisions: first }
  }

  test.each(['stop', 'length'])('of an answer that came to its end (%s) is all of it', async (outcome) => {
    for (const delivered_tokens of [0, 2, 6]) {
      expect(await settled({ outcome, delivered_tokens })).toEqual({
        ...{ prompt_tokens: 10, cached_tokens: 4, completion_tokens: 6, delivered_tokens, outcome, cost_nanousd: '50' },
        decisions: ['posted', 'duplicate'],
      })
    }
  })

  test.each(failed)('of one that ended as %s is what its client was given', async (outcome) => {
    for (const delivered_tokens of [1, 5, 6]) {
      expect(await settled({ outcome, delivered_tokens })).toMatchObject({
        ...{ prompt_tokens: 10, cached_tokens: 4, completion_tokens: delivered_tokens, delivered_tokens },
        cost_nanousd: String(20 + 5 * delivered_tokens),
        decisions: ['posted', 'duplicate'],
      })
    }
  })

  test.each([...failed, 'client_gone'])(
    'of one that ended as %s with nothing delivered is nothing',
    async (outcome) => {
      expect(await settled({ outcome, delivered_tokens: 0 })).toMatchObject({
        ...{ prompt_tokens: 0, cached_tokens: 0, completion_tokens: 0, delivered_tokens: 0, cost_nanousd: '0' },
        decisions: ['posted', 'duplicate'],
      })
      expect(await balance()).toEqual({ debited: '0', pending: '0', late: '0' })
    },
  )

  test('of one whose client left is at most eight tokens more than it was given', async () => {
    const left = { outcome: 'client_gone', completion_tokens: 40 }
    expect(await settled({ ...left, delivered_tokens: 20 })).toMatchObject({
      completion_tokens: 28,
      cost_nanousd: '160',
    })
    expect(await settled({ ...left, delivered_tokens: 35 })).toMatchObject({
      completion_tokens: 40,
      cost_nanousd: '220',
    })
  })

  test('at cached prices is what was cached, where it has one', async () => {
    const own = { input_nanousd_per_token: '9', cached_input_nanousd_per_token: '1', output_nanousd_per_token: '5' }
    await db.ask('publish_price', { model: 'm', account_id: payer.account_id, ...own })
    expect(await settled({ outcome: 'node_lost', delivered_tokens: 1 })).toMatchObject({ cost_nanousd: '63' })
  })

  test('counts what was computed against the tokens of a minute, whatever of it is charged', async () => {
    const rich = await newPayer(db, 100_000n, { tokens_per_minute: 1000 })
    const asked = { key_hash: rich.key_hash, prompt_tokens_max: 500, request_output_tokens_max: 400 }
    const used = { prompt_tokens: 500, completion_tokens: 400, delivered_tokens: 0, outcome: 'client_gone' }
    const [settled] = await db.ask('settle', { ...(await admit(asked)), ...counts, ...used })
    expect(settled!.decision).toBe('posted')
    expect(await admit(asked)).toMatchObject({ decision: 'tokens_per_minute' })
  })

  test('is known again by who charged all that was counted', async () => {
    const ticket = await admit()
    const record = { ...ticket, ...counts, outcome: 'error', delivered_tokens: 2 }
    await db.ask('settle', record)
    await db.sql`update usage set completion_tokens = 4, cost_nanousd = 40 where request_id = ${ticket.request_id}`
    expect(decisions(await db.ask('settle', record))).toEqual(['duplicate'])
    await db.sql`update usage set completion_tokens = 2, cost_nanousd = 30 where request_id = ${ticket.request_id}`
  })
})

describe('a journal', () => {
  const position = (own: object = {}) => ({ id: randomUUID(), mark: 0, is_resending: false, ...own })
  const boot = { boot_id: randomUUID(), folder_id: randomUUID(), boot_number: 1 }
  let sequence = 0

  beforeAll(async () => {
    await db.ask('create_node', { id: 'told', url: 'http://told', model: 'm', key: 'k'.repeat(43) })
  })

  const heartbeat = async (journal: ReturnType<typeof position>) => {
    const condition = { state: 'draining', context_tokens: 9, running: 1, waiting: 2, blocks_total: 3, blocks_free: 3 }
    const node = { node_id: 'told', url: 'http://told', model: 'm', key: 'k'.repeat(43), ...condition }
    const report = { report_id: randomUUID(), ...boot, sequence: ++sequence, sent_unix_ms: Date.now(), running_ids: [] }
    const [seen] = await db.ask('hear_node', { ...node, ...report, journal })
    expect(seen!.decision).toBe('seen')
    return seen!.journal
  }

  test('is counted record by record, and a repeated one is a record', async () => {
    const journal = position()
    const record = { ...(await admit()), ...counts, journal }
    const other = { ...(await admit()), ...counts, journal }
    const answers = await db.ask('settle', record, other)
    expect(answers.map((answer) => answer.journal)).toEqual(Array(2).fill({ mark: 2, is_behind: false }))
    expect(await heartbeat({ ...journal, mark: 2 })).toEqual({ mark: 2, is_behind: false })
    const [again] = await db.ask('settle', { ...record, journal: { ...journal, mark: 2 } })
    expect(again).toEqual({ decision: 'duplicate', journal: { mark: 3, is_behind: false } })
  })

  test('that remembers more than is counted is behind, until it has told everything again', async () => {
    const journal = position({ mark: 7 })
    const behind = async () => (await db.ask('ledger_health', { findings: false }))[0]!.journals_behind
    expect(await heartbeat(journal)).toEqual({ mark: 0, is_behind: true })
    expect(await behind()).toBe(1)
    // It was killed before it wrote that down, and settles a record meanwhile.
    const record = { ...(await admit()), ...counts, journal: { ...journal, mark: 0 } }
    expect((await db.ask('settle', record))[0]!.journal).toEqual({ mark: 1, is_behind: true })
    expect(await heartbeat({ ...journal, mark: 1, is_resending: true })).toEqual({ mark: 1, is_behind: false })
    expect(await behind()).toBe(1)
    // And then the database is restored once more.
    expect(await heartbeat({ ...journal, mark: 2, is_resending: true })).toEqual({ mark: 1, is_behind: true })
    expect(await heartbeat({ ...journal, mark: 1, is_resending: true })).toEqual({ mark: 1, is_behind: false })
    expect(await heartbeat({ ...journal, mark: 1 })).toEqual({ mark: 1, is_behind: false })
    expect(await behind()).toBe(0)
  })

  test('that is not told of is not counted, as a node of an earlier release does not tell it', async () => {
    const [answer] = await db.ask('settle', { ...(await admit()), ...counts })
    expect(answer).toEqual({ decision: 'posted' })
  })
})

describe('void', () => {
  test('gives the money back, once', async () => {
    const ticket = await admit()
    expect(decisions(await db.ask('void', ticket, ticket))).toEqual(['voided', 'voided'])
    expect((await balance()).pending).toBe('0')
  })

  test('of what its node has reported refunds the charge, once, and what an operator had refunded of it only once', async () => {
    const [ticket, other] = [await admit(), await admit()]
    await db.ask('settle', { ...ticket, ...counts }, { ...other, ...counts })
    const charged = { account_id: other.account_id, request_id: other.request_id }
    await db.ask('refund', { ...charged, amount_nanousd: '15', reference: randomUUID() })
    const before = await credited()
    expect(decisions(await db.ask('void', ticket, ticket, other))).toEqual(['posted', 'posted', 'posted'])
    await db.ask('void', other)
    expect([(await credited()) - before, (await balance()).debited]).toEqual([40 + 25, '80'])
    expect(await ledgerFindings(db.sql, [payer.account_id])).toEqual([])
  })

  test('of what was used after its reservation expired refunds it too', async () => {
    const ticket = await admit({ ttl_ms: 0 })
    await db.ask('expire', { count_max: 10 })
    expect(decisions(await db.ask('settle', { ...ticket, ...counts }))).toEqual(['late'])
    const before = await credited()
    expect(decisions(await db.ask('void', ticket))).toEqual(['expired'])
    expect((await credited()) - before).toBe(40)
  })
})

describe('the price book', () => {
  test('gets a new version only where a price changed', async () => {
    const version = async (...amounts: [number, number]) =>
      (await db.ask('publish_price', price('book', ...amounts)))[0]!.version
    expect([await version(1, 2), await version(1, 2), await version(1, 3), await version(1, 2)]).toEqual([1, 1, 2, 3])
  })

  test.each([
    'update prices set input_nanousd_per_token = 0',
    'delete from prices',
    'truncate prices cascade',
    'update entries set amount_nanousd = 0',
    'delete from entries',
    'truncate entries cascade',
  ])('and the ledger refuse: %s', async (statement) => {
    await expect(db.sql.unsafe(statement)).rejects.toThrow('append-only')
  })

  test.each(['accounts', 'keys', 'reservations'])('rows of %s, which others name, are never deleted', async (table) => {
    await admit()
    for (const statement of [`delete from ${table}`, `truncate ${table} cascade`])
      await expect(db.sql.unsafe(statement)).rejects.toThrow('never deleted')
  })

  test('in one call, each account is admitted at its own price', async () => {
    const payers = [await newPayer(db, 1000n), await newPayer(db, 1000n), await newPayer(db, 1000n)]
    await db.ask('publish_price', { ...price('m', 1, 3), account_id: payers[1]!.account_id })
    const answers = await db.ask('admit', ...payers.map(({ key_hash }) => wish({ key_hash })))
    expect(answers.map(({ reserved_nanousd }) => reserved_nanousd)).toEqual(['120', '70', '120'])
  })
})

describe('the backstops hold against a statement that would', () => {
  test('charge a reservation twice', async () => {
    const ticket = await admit()
    await db.ask('settle', { ...ticket, ...counts })
    const again = db.sql`insert into entries (account_id, sequence, request_id, kind, amount_nanousd)
      values (${payer.account_id}, 99, ${ticket.request_id}, 'late_usage', 1)`
    await expect(again).rejects.toThrow('entries_charge_a_reservation_once')
  })

  test('overspend an account', async () => {
    const spend = db.sql`update accounts set pending_nanousd = 1001 where id = ${payer.account_id}`
    await expect(spend).rejects.toThrow('never_overspent')
  })
})

describe('a grant', () => {
  const one = async (name: FunctionName, item: object) => (await db.ask(name, item))[0]!.decision
  const overdraft = (account_id: string, nanousd: number) =>
    one('update_account', { operator: true, account_id, fields: { overdraft_nanousd: String(nanousd) } })

  async function grant(account_id: string, amount: number) {
    const item = { account_id, amount_nanousd: String(amount), reference: randomUUID(), note: null }
    expect(await one('give_grant', { ...item, expires_at: new Date(Date.now() + 3_600_000).toISOString() })).toBe(
      'granted',
    )
  }
  const endGrants = (account_id: string) =>
    db.sql`update grants set expires_at = clock_timestamp() where account_id = ${account_id}`

  async function inDebt() {
    const poor = await newPayer(db, 0n)
    expect(await overdraft(poor.account_id, 100)).toBe('allowed')
    const debit = {
      account_id: poor.account_id,
      direction: 'debit',
      amount_nanousd: '100',
      reference: randomUUID(),
      note: 'n',
    }
    expect(await one('adjust', { ...debit, may_overdraw: false })).toBe('adjusted')
    await grant(poor.account_id, 1000)
    return poor
  }

  test('that covers an overdraft which is in use lets none of it be taken away, for it ends', async () => {
    const { account_id, key_hash } = await inDebt()
    expect(await overdraft(account_id, 99)).toBe('overdraft_in_use')
    expect(await admit({ key_hash })).toMatchObject({ decision: 'admitted' })
    expect(await overdraft(account_id, 99)).toBe('overdraft_in_use')
    expect(await overdraft(account_id, 101)).toBe('allowed')
    expect(await overdraft(account_id, 100)).toBe('allowed')
    await endGrants(account_id)
    expect(await one('expire_due_grants', { count_max: 10 })).toBe('expired')
    const [row] = await db.sql`select debited_nanousd from accounts where id = ${account_id}`
    expect(row!.debited_nanousd).toBe('980') // 120 are held
  })

  const joins = ['enable_nestloop', 'enable_hashjoin', 'enable_mergejoin']
  test.each(joins)(
    'is taken from in the order of the entries, however the set is joined with them (by %s)',
    async (join) => {
      const { account_id, key_hash } = await newPayer(db, 10_000n)
      await grant(account_id, 300) // of 20 charges of 40 it covers seven, and half of the eighth
      const tickets = []
      for (let i = 0; i < 20; i += 1) tickets.push(await admit({ key_hash }))
      for (const name of joins)
        await db.sql`alter function ledger.spend_grants_on_usage set ${db.sql(name)} = ${db.sql(name === join ? 'on' : 'off')}`
      const settled = await db.ask('settle', ...tickets.map((ticket) => ({ ...ticket, ...counts })))
      await db.sql`alter function ledger.spend_grants_on_usage reset all`
      expect(new Set(decisions(settled))).toEqual(new Set(['posted']))
      expect(await grantFindings(db.sql, [account_id])).toEqual([])
    },
  )

  test('that ends while requests run leaves them what they hold, from the one that ends first on', async () => {
    const { account_id, key_hash } = await newPayer(db, 0n)
    await grant(account_id, 100)
    await grant(account_id, 100)
    const ticket = await admit({ key_hash }) // holds 120
    await endGrants(account_id)
    expect(await db.ask('expire_due_grants', { count_max: 10 })).toEqual([{ decision: 'expired', count: 1 }])
    const taken = async () =>
      (
        await db.sql`select expired_nanousd, spent_nanousd from grants where account_id = ${account_id} order by entry_id`
      ).map((row) => [row.expired_nanousd, row.spent_nanousd])
    expect(await taken()).toEqual([
      ['0', '0'],
      ['80', '0'],
    ])
    expect(decisions(await db.ask('settle', { ...ticket, ...counts }))).toEqual(['posted'])
    await db.ask('expire_due_grants', { count_max: 10 })
    expect(await taken()).toEqual([
      ['60', '40'],
      ['100', '0'],
    ])
    expect(await ledgerFindings(db.sql, [account_id])).toEqual([])
  })

  test('that ends where the account has no room for it stops nobody, and is booked out of the next credit', async () => {
    const { account_id, key_hash } = await inDebt()
    await db.sql`update accounts set overdraft_nanousd = 0 where id = ${account_id}`
    await endGrants(account_id)
    const left = async () => {
      const [row] =
        await db.sql`select sum(ledger.left_of(g))::text as left from grants g where account_id = ${account_id}`
      return row!.left
    }
    expect(await admit({ key_hash })).toMatchObject({ decision: 'insufficient_quota' })
    expect(await left()).toBe('100')
    expect(await db.ask('expire_due_grants', { count_max: 10 })).toEqual([{ decision: 'expired', count: 0 }])
    await db.ask('top_up', { account_id, amount_nanousd: '150', reference: randomUUID() })
    expect(await db.ask('expire_due_grants', { count_max: 10 })).toEqual([{ decision: 'expired', count: 1 }])
    expect(await left()).toBe('0')
    expect(await ledgerFindings(db.sql, [account_id])).toEqual([])
  })
})

test('with the greatest credit and overdraft an account still adds up', async () => {
  const rich = await newPayer(db, 2n ** 63n - 1n, { scopes: ['admin'] })
  const fields = { overdraft_nanousd: String(2n ** 62n) }
  await db.sql`update accounts set alert_percents = '{50}' where id = ${rich.account_id}`
  const changed = await db.ask('update_account', { operator: true, account_id: rich.account_id, fields })
  expect(changed).toMatchObject([{ account: { available_nanousd: String(2n ** 63n - 1n + 2n ** 62n) } }])
  const ticket = await admit({ key_hash: rich.key_hash })
  expect(ticket).toMatchObject({ decision: 'admitted' })
  expect(decisions(await db.ask('settle', { ...ticket, ...counts }))).toEqual(['posted'])
  expect(decisions(await db.ask('read_balance', { key_hash: rich.key_hash }))).toEqual(['allowed'])
})

describe('what would add up to more than a bigint counts is refused, and changes nothing:', () => {
  const most = String(2n ** 63n - 1n)
  const expires_at = new Date(Date.now() + 3_600_000).toISOString()
  const moved = async (name: FunctionName, account_id: string, own: object) =>
    (await db.ask(name, { account_id, amount_nanousd: '1', ...own }))[0]!.decision
  const byReference = () => ({ reference: randomUUID() })
  const byPayment = () => ({ payment: 'pi_rich', customer_id: null })
  const debit = { direction: 'debit', may_overdraw: true }

  test.each([
    ['top_up', byReference, {}],
    ['give_grant', byReference, { expires_at }],
    ['adjust', byReference, { direction: 'credit' }],
    ['stripe_payment', byPayment, {}],
  ] as const)('%s', async (name, named, own) => {
    const { account_id } = await newPayer(db, 2n ** 63n - 2n)
    expect(await moved(name, account_id, { ...own, ...named(), amount_nanousd: '2' })).toBe('uncountable')
    expect(await ledgerFindings(db.sql, [account_id])).toEqual([])
    expect(await moved(name, account_id, { ...own, ...named() })).not.toBe('uncountable')
    expect(await moved('adjust', account_id, { ...debit, ...byReference(), amount_nanousd: most })).toBe('adjusted')
    expect(await moved('adjust', account_id, { ...debit, ...byReference() })).toBe('uncountable')
    expect(await ledgerFindings(db.sql, [account_id])).toEqual([])
  })

  test('a refund', async () => {
    const ticket = await admit()
    await db.ask('settle', { ...ticket, ...counts })
    await moved('top_up', payer.account_id, { ...byReference(), amount_nanousd: String(2n ** 63n - 1n - 1000n - 39n) })
    const refund = { request_id: ticket.request_id }
    expect(await moved('refund', payer.account_id, { ...refund, ...byReference(), amount_nanousd: '40' })).toBe(
      'uncountable',
    )
    expect(await moved('refund', payer.account_id, { ...refund, ...byReference(), amount_nanousd: '39' })).toBe(
      'refunded',
    )
  })

  test('what Stripe took back, which is not forgotten', async () => {
    const { account_id } = await newPayer(db, 1n)
    const payment = `pi_${account_id}`
    expect(await moved('stripe_payment', account_id, { ...byPayment(), payment })).toBe('credited')
    expect(await moved('adjust', account_id, { ...debit, ...byReference(), amount_nanousd: most })).toBe('adjusted')
    const reversal = { payment, reference: `re_${account_id}`, amount_nanousd: '1', returned: false }
    expect(decisions(await db.ask('stripe_reversal', reversal))).toEqual(['uncountable'])
    const rows = await db.sql`select debited_at from stripe_reversals where reference = ${reversal.reference}`
    expect(rows).toEqual([{ debited_at: null }])
  })
})

describe('usage of another ledger', () => {
  const elsewhere = { ledger_id: '00000000-0000-4000-8000-000000000000' }

  test('is not taken, whatever comes beside it, and leaves nothing behind', async () => {
    const [own, foreign] = [await admit(), await admit()]
    const answers = await db.ask(
      'settle',
      { ...own, ...counts, ledger_id: own.ledger_id },
      { ...foreign, ...counts, ...elsewhere },
      { node: node('ready-node', 'ready') },
    )
    expect(decisions(answers)).toEqual(['posted', 'elsewhere', 'seen'])
    expect(answers[2]!.ledger_id).toBe(own.ledger_id)
    const [still] = await db.sql`select state from reservations where request_id = ${foreign.request_id}`
    expect(still).toEqual({ state: 'pending' })
    expect(decisions(await db.ask('settle', { ...foreign, ...counts, ledger_id: own.ledger_id }))).toEqual(['posted'])
    await db.sql`update nodes set last_seen_at = 'infinity'`
  })

  test('is no anomaly here, though its ticket is not ours', async () => {
    const record = { request_id: randomUUID(), ...counts }
    const unsettled = { request_id: record.request_id, kind: 'bad_ticket', node_id: 'n', sqlstate: null }
    const keep = async (more: object) =>
      decisions(await db.ask('keep_unsettled', { ...unsettled, record: { ...record, ...more } }))
    expect(await keep(elsewhere)).toEqual(['elsewhere'])
    const kept = () => db.sql`select from anomalies where request_id = ${record.request_id}`
    expect(await kept()).toHaveLength(0)
    expect(await keep({})).toEqual(['kept'])
    expect(await kept()).toHaveLength(1)
  })

  test('no database is another', async () => {
    await expect(db.sql`insert into ledger_identity (is_only) values (false)`).rejects.toThrow()
    await expect(db.sql`insert into ledger_identity default values`).rejects.toThrow()
  })
})
