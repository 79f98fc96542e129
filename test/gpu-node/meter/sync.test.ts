import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { type NodeStatus, SYNC_RECORDS_MAX, type UsageRecord } from '../../../contract/internal/sync.ts'
import { ticketIssuer } from '../../../contract/internal/ticket.ts'
import { Journal } from '../../../gpu-node/meter/journal.ts'
import { Sync, type SyncOptions } from '../../../gpu-node/meter/sync.ts'
import { TicketKeys } from '../../../gpu-node/meter/ticket-keys.ts'
import { FakeGateway } from '../../support/fake-gateway.ts'
import { temporaryFolder } from '../../support/fake-node.ts'
import { newGate } from '../../support/gate.ts'
import { issuer, nodeSigner, OTHER_SEED, TICKET_SEED, ticketSigner } from '../../support/keys.ts'
import { PATIENCE_MS } from '../../support/patience.ts'

const NEVER_MS = 86_400_000 // of a heartbeat that brings nothing

const status: NodeStatus = {
  node_id: 'node-1',
  url: 'http://127.0.0.1:1',
  model: 'test-model',
  state: 'ready',
  context_tokens: 10,
  running: 0,
  waiting: 0,
  blocks_total: 1,
  blocks_free: 1,
}

const boot = { id: crypto.randomUUID(), folder_id: crypto.randomUUID(), number: 1 }

function finish(journal: Journal, ...request_ids: string[]): void {
  finishFor(undefined, journal, ...request_ids)
}

function finishFor(ledger_id: string | undefined, journal: Journal, ...request_ids: string[]): void {
  for (const request_id of request_ids) {
    const record: UsageRecord = {
      ticket: 'ticket',
      request_id,
      attempt: 1,
      prompt_tokens: 1,
      cached_tokens: 0,
      completion_tokens: 1,
      delivered_tokens: 1,
      outcome: 'stop',
      started_unix_ms: 1,
      first_token_ms: 1,
      duration_ms: 1,
    }
    journal.accept({ ticket: 'ticket', request_id, attempt: 1, ledger_id, duration_ms_max: 1000 })
    journal.step([], [record])
  }
}

async function setUp(options: Partial<SyncOptions> = {}) {
  const gateway = await FakeGateway.start()
  const journal = options.journal ?? new Journal(temporaryFolder())
  const failures: string[] = []
  const ticket_keys = await TicketKeys.open(temporaryFolder(), [ticketSigner.x])
  const sync = new Sync({
    gateway_url: gateway.url,
    node_key: nodeSigner,
    ticket_keys,
    boot,
    journal,
    status: () => status,
    on_failure: (reason) => failures.push(reason),
    heartbeat_ms: 30,
    backoff_ms_max: 60,
    ...options,
  })
  let stopped: Promise<void> | null = null
  const stop = () => {
    stopped ??= sync.stop()
    return stopped
  }
  onTestFinished(stop)
  sync.start()
  return { gateway, journal, sync, stop, failures, ticket_keys }
}

test('a node that does nothing still says that it lives', async () => {
  const { gateway } = await setUp()
  while (gateway.reports.length < 3) await sleep(5)
  const head = { node: status, boot, sent_unix_ms: expect.any(Number), running_ids: [], records: [], job_slots: 0 }
  const journal = { id: expect.any(String), mark: 0, is_resending: false }
  expect(gateway.reports.slice(0, 3)).toEqual([1, 2, 3].map((sequence) => ({ ...head, sequence, journal })))
})

test('a finished record is reported at once, and once', async () => {
  const { gateway, journal, sync, stop } = await setUp({ heartbeat_ms: NEVER_MS })
  while (gateway.reports.length < 1) await sleep(5)
  finish(journal, 'a')
  sync.poke()
  await gateway.record('a') // long before the next heartbeat
  await stop()
  expect(gateway.records.map(({ request_id }) => request_id)).toEqual(['a'])
})

test('what finishes while a report is on its way goes together with the next', async () => {
  const { gateway, journal, sync } = await setUp({ heartbeat_ms: NEVER_MS })
  await vi.waitFor(() => expect(gateway.reports).toHaveLength(1), { timeout: PATIENCE_MS })
  const gate = newGate()
  gateway.answers = gate.pass
  finish(journal, 'a')
  sync.poke()
  await gateway.record('a')
  for (const request_id of ['b', 'c', 'd']) {
    finish(journal, request_id)
    sync.poke()
    await nextTurn()
    await nextTurn()
  }
  gate.open()
  await gateway.record('d')
  const reported = gateway.reports.map(({ records }) => records.map(({ request_id }) => request_id))
  expect(reported.flat()).toEqual(['a', 'b', 'c', 'd'])
  expect(reported.length).toBeLessThanOrEqual(3)
})

test('what finishes that nobody waits for goes together where it finishes at nearly the same time', async () => {
  const { gateway, journal, sync } = await setUp({ heartbeat_ms: NEVER_MS })
  await vi.waitFor(() => expect(gateway.reports).toHaveLength(1), { timeout: PATIENCE_MS })
  for (const request_id of ['a', 'b', 'c']) {
    finish(journal, request_id)
    sync.pokeSoon()
    await nextTurn()
  }
  await gateway.record('c') // no heartbeat brings it
  const reported = gateway.reports.map(({ records }) => records.map(({ request_id }) => request_id))
  expect(reported.flat()).toEqual(['a', 'b', 'c'])
  finish(journal, 'd')
  sync.pokeSoon()
  finish(journal, 'e')
  sync.poke() // somebody waits for this one
  await gateway.record('e')
  await sleep(30)
  expect(gateway.reports.map(({ records }) => records.length).slice(-1)).toEqual([2]) // and nothing is left to be told
  finish(journal, 'f')
  sync.pokeSoon()
  await gateway.record('f')
})

describe('the end of an answer', () => {
  const record = { request_id: 'a', attempt: 1 }

  async function finished(options: Partial<SyncOptions> = {}) {
    const set = await setUp({ heartbeat_ms: 10_000, ...options })
    await vi.waitFor(() => expect(set.gateway.reports).toHaveLength(1), { timeout: PATIENCE_MS })
    const events: string[] = []
    set.gateway.settle = ({ request_id }) => {
      events.push(`settled ${request_id}`)
      return 'posted'
    }
    return { ...set, events }
  }

  test('waits until its record is settled, and for no later report', async () => {
    const { journal, sync, events } = await finished()
    finish(journal, 'a')
    sync.poke()
    await sync.whenSettled(record).then(() => events.push('end of a'))
    expect(events).toEqual(['settled a', 'end of a'])
    expect(journal.isUnsettled(record)).toBe(false)
    await sync.whenSettled(record)
  })

  test('waits for no gateway that is away, nor for one that could not settle it', async () => {
    const { gateway, journal, sync } = await finished({ backoff_ms_max: 10_000 })
    gateway.settle = () => 'retry'
    finish(journal, 'a')
    sync.poke()
    await sync.whenSettled(record)
    expect(journal.isUnsettled(record)).toBe(true)
    finish(journal, 'b')
    await sync.whenSettled({ request_id: 'b', attempt: 1 })
  })

  test('does not begin to wait for a gateway that was away when it was last asked', async () => {
    const gate = newGate()
    const { gateway, journal, sync } = await finished({
      call_ms_max: 60_000,
      settle_ms_max: 60_000,
      on_failure: () => {
        gateway.answers = gate.pass // neither does the next report end
      },
    })
    gateway.status = 503
    finish(journal, 'a')
    sync.poke()
    await vi.waitFor(() => expect(sync.failure).not.toBeNull(), { timeout: PATIENCE_MS })
    const first = await Promise.race([sync.whenSettled(record).then(() => 'its end'), nextTurn('a turn of the loop')])
    gate.open()
    expect(first).toBe('its end')
  })

  test('waits for one that does not answer only so long', async () => {
    const { gateway, journal, sync } = await finished({ call_ms_max: 60_000, settle_ms_max: 100 })
    const gate = newGate()
    gateway.answers = gate.pass
    finish(journal, 'a')
    sync.poke()
    await sync.whenSettled(record)
    expect(journal.isUnsettled(record)).toBe(true)
    gate.open()
  })
})

test.each(['posted', 'duplicate', 'late', 'conflict', 'stale', 'voided', 'rejected'] as const)(
  'a record that is %s is done',
  async (outcome) => {
    const { gateway, journal, sync } = await setUp()
    gateway.settle = () => outcome
    finish(journal, 'a')
    sync.poke()
    await gateway.record('a')
    const reports = gateway.reports.length
    while (gateway.reports.length < reports + 3) await sleep(5)
    expect(gateway.records).toHaveLength(1)
    expect(journal.unacknowledged(10)).toEqual([])
  },
)

test.each(['retry', 'leave out'] as const)('a record that the gateway answers with %s comes again', async (outcome) => {
  const { gateway, journal, sync } = await setUp()
  gateway.settle = () => (gateway.records.length < 3 ? outcome : 'posted')
  finish(journal, 'a')
  sync.poke()
  while (journal.unacknowledged(1).length > 0) await sleep(5)
  expect(gateway.records).toHaveLength(3)
})

test('while the gateway is away nothing is lost, and the failure is said once', async () => {
  const { gateway, journal, sync, failures } = await setUp()
  gateway.status = 503
  finish(journal, 'a', 'b')
  sync.poke()
  while (gateway.reports.length < 3) await sleep(5)
  expect(journal.unacknowledged(10)).toHaveLength(2)
  expect(failures).toEqual([expect.stringContaining('503')])
  gateway.status = 200
  while (journal.unacknowledged(1).length > 0) await sleep(5)
})

test('a gateway that does not answer is given up after the deadline of a call', async () => {
  const { gateway, failures } = await setUp({ call_ms_max: 40 })
  const gate = newGate()
  gateway.answers = gate.pass
  while (failures.length === 0) await sleep(5)
  gate.open()
})

test('a report never has more records than the contract allows', async () => {
  const { gateway, journal, sync } = await setUp({ heartbeat_ms: NEVER_MS })
  const ids = Array.from({ length: SYNC_RECORDS_MAX + 20 }, (_, i) => `r${i}`)
  finish(journal, ...ids)
  sync.poke()
  while (journal.unacknowledged(1).length > 0) await sleep(5)
  expect(Math.max(...gateway.reports.map(({ records }) => records.length))).toBe(SYNC_RECORDS_MAX)
  expect(new Set(gateway.records.map(({ request_id }) => request_id)).size).toBe(ids.length)
})

test('a database that is behind is told the last day again, also by who was killed meanwhile', async () => {
  const folder = temporaryFolder()
  const ids = Array.from({ length: SYNC_RECORDS_MAX + 20 }, (_, i) => `r${i}`)
  const told = (gateway: FakeGateway) => new Set(gateway.records.map(({ request_id }) => request_id))
  const first = await setUp({ journal: new Journal(folder) })
  first.gateway.counted = { mark: 41, is_behind: false }
  finish(first.journal, ...ids)
  first.sync.poke()
  while (first.journal.unacknowledged(1).length > 0) await sleep(5)
  expect(first.journal.position).toMatchObject({ mark: 41, is_resending: false })
  let behind = 0
  first.gateway.settle = () => 'retry'
  first.gateway.counted = { mark: 7, is_behind: true }
  while (!first.journal.position.is_resending) await sleep(5)
  await first.stop() // nothing of it was taken yet

  const second = await setUp({ journal: new Journal(folder), on_behind: () => void behind++ })
  second.gateway.counted = { mark: 9, is_behind: false }
  expect(second.journal.position).toMatchObject({ mark: 7, is_resending: true })
  while (second.journal.position.is_resending) await sleep(5)
  expect(told(second.gateway)).toEqual(new Set(ids))
  expect(second.gateway.reports.every(({ journal }) => journal?.id === first.journal.position.id)).toBe(true)
  const reports = second.gateway.reports.length
  while (second.gateway.reports.length < reports + 3) await sleep(5)
  expect(second.gateway.reports.at(-1)).toMatchObject({ records: [], journal: { mark: 9, is_resending: false } })
  expect(behind).toBe(0)
  second.gateway.counted = { mark: 2, is_behind: true }
  while (behind === 0) await sleep(5)
})

test('the last report comes after the end', async () => {
  const { gateway, journal, stop } = await setUp({ heartbeat_ms: NEVER_MS })
  await sleep(50)
  finish(journal, 'a')
  await stop()
  expect(gateway.records.map(({ request_id }) => request_id)).toEqual(['a'])
})

test('what is owed to another ledger waits, is said once, and is settled when the gateway is on that one again', async () => {
  const kept: number[] = []
  const { gateway, journal, sync } = await setUp({ on_elsewhere: (count) => kept.push(count) })
  gateway.ledger_id = 'second'
  gateway.settle = (record) => (record.ledger_id === gateway.ledger_id ? 'posted' : 'elsewhere')
  finishFor('first', journal, 'a', 'b')
  finishFor('second', journal, 'c')
  sync.poke()
  await gateway.record('c')
  while (journal.unacknowledged(9).length > 2) await sleep(5)
  const reports = gateway.reports.length
  while (gateway.reports.length < reports + 3) await sleep(5)
  expect(gateway.records.filter(({ request_id }) => request_id === 'a').length).toBeLessThanOrEqual(1)
  expect(kept).toEqual([2])
  gateway.ledger_id = 'first'
  while (journal.unacknowledged(1).length > 0) await sleep(5)
  expect(kept).toEqual([2])
})

test('a gateway that refuses the reports is said again and again, in one line, and until it takes one', async () => {
  const { gateway, sync, failures } = await setUp({ say_again_ms: 1 })
  gateway.status = 401
  while (failures.length < 3) await sleep(5)
  expect(new Set(failures)).toEqual(new Set([expect.stringMatching(/^ReportRefused|401/)]))
  expect(failures.every((line) => !line.includes('\n'))).toBe(true)
  expect(sync.failure).toMatchObject({ is_refused: true })
  gateway.status = 200
  while (sync.failure) await sleep(5)
})

test('a failure that stays the same is said once a minute, and another one at once', async () => {
  const { gateway, failures } = await setUp()
  gateway.status = 503
  while (gateway.reports.length < 4) await sleep(5)
  gateway.status = 401
  while (failures.length < 2) await sleep(5)
  expect(failures).toEqual([expect.stringContaining('503'), expect.stringContaining('401')])
})

test('an answer that no key signed which the node knows acknowledges nothing, teaches nothing, and is said', async () => {
  const { gateway, journal, sync, failures, ticket_keys } = await setUp()
  while (gateway.reports.length === 0) await sleep(5)
  gateway.issuer = await ticketIssuer([OTHER_SEED])
  gateway.ticket_keys = gateway.issuer.keys
  finish(journal, 'a')
  sync.poke()
  while (failures.length === 0) await sleep(5)
  expect(failures).toEqual([expect.stringContaining('signed by no key')])
  expect(journal.unacknowledged(10)).toHaveLength(1)
  expect(ticket_keys.known).toEqual(issuer.keys)
  gateway.issuer = issuer
  while (journal.unacknowledged(1).length > 0) await sleep(5)
})

test('a key that the gateway tells of is known before it signs alone', async () => {
  const { gateway, ticket_keys, failures } = await setUp()
  const both = await ticketIssuer([TICKET_SEED, OTHER_SEED])
  Object.assign(gateway, { issuer: both, ticket_keys: both.keys })
  while (ticket_keys.known.length < 2) await sleep(5)
  const next = await ticketIssuer([OTHER_SEED])
  Object.assign(gateway, { issuer: next, ticket_keys: next.keys })
  while (ticket_keys.known.length > 1) await sleep(5)
  expect(ticket_keys.known).toEqual(next.keys)
  expect(failures).toEqual([])
})

test('what runs is said once a heartbeat, and what must stop of it is stopped', async () => {
  const stopped: string[] = []
  const { gateway } = await setUp({ running_ids: () => ['r1', 'r2'], on_stop: (ids) => stopped.push(...ids) })
  gateway.stop = ['r2']
  while (stopped.length === 0) await sleep(5)
  expect(stopped).toContain('r2')
  expect(gateway.reports[0]!.running_ids).toEqual(['r1', 'r2'])
})

test('why a report is refused is said in the gateway’s words, each reason once', async () => {
  const { gateway, failures } = await setUp()
  gateway.refuse('second_process')
  while (failures.length === 0) await sleep(5)
  const reports = gateway.reports.length
  while (gateway.reports.length < reports + 3) await sleep(5)
  gateway.refuse('stale_report')
  while (failures.length < 2) await sleep(5)
  expect(failures).toEqual([expect.stringContaining('(second_process)'), expect.stringContaining('(stale_report)')])
})
