import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises'
import { expect, onTestFinished, test } from 'vitest'
import { type NodeStatus, SYNC_RECORDS_MAX, type UsageRecord } from '../../../contract/internal/sync.ts'
import { Journal } from '../../../gpu-node/meter/journal.ts'
import { Sync, type SyncOptions } from '../../../gpu-node/meter/sync.ts'
import { TicketKeys } from '../../../gpu-node/meter/ticket-keys.ts'
import { FakeGateway } from '../../support/fake-gateway.ts'
import { temporaryFolder } from '../../support/fake-node.ts'
import { nodeSigner, ticketSigner } from '../../support/keys.ts'

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
    journal.accept({ ticket: 'ticket', request_id, attempt: 1, ledger_id, prompt_tokens: 1, duration_ms_max: 1000 })
    journal.step([], [record])
  }
}

async function setUp(options: Partial<SyncOptions> = {}) {
  const gateway = await FakeGateway.start()
  const journal = new Journal(temporaryFolder())
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
  return { gateway, journal, sync, stop, failures }
}

test('a node that does nothing still says that it lives', async () => {
  const { gateway } = await setUp()
  while (gateway.reports.length < 3) await sleep(5)
  const head = { node: status, boot, sent_unix_ms: expect.any(Number), running_ids: [], records: [] }
  expect(gateway.reports.slice(0, 3)).toEqual([1, 2, 3].map((sequence) => ({ ...head, sequence })))
})

test('a finished record is reported at once, and once', async () => {
  const { gateway, journal, sync, stop } = await setUp({ heartbeat_ms: 10_000 })
  await sleep(50)
  finish(journal, 'a')
  sync.poke()
  await gateway.record('a', 500)
  await stop()
  expect(gateway.records.map(({ request_id }) => request_id)).toEqual(['a'])
})

test('what finishes soon after a report goes together with the next', async () => {
  const { gateway, journal, sync } = await setUp({ heartbeat_ms: 10_000 })
  finish(journal, 'a')
  sync.poke()
  await gateway.record('a')
  for (const request_id of ['b', 'c', 'd']) {
    finish(journal, request_id)
    sync.poke()
    await nextTurn()
  }
  await gateway.record('d')
  const reported = gateway.reports.map(({ records }) => records.map(({ request_id }) => request_id))
  expect(reported).toContainEqual(['b', 'c', 'd'])
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
  gateway.delay_ms = 1000
  while (failures.length === 0) await sleep(5)
  gateway.delay_ms = 0
})

test('a report never has more records than the contract allows', async () => {
  const { gateway, journal, sync } = await setUp({ heartbeat_ms: 10_000 })
  const ids = Array.from({ length: SYNC_RECORDS_MAX + 20 }, (_, i) => `r${i}`)
  finish(journal, ...ids)
  sync.poke()
  while (journal.unacknowledged(1).length > 0) await sleep(5)
  expect(Math.max(...gateway.reports.map(({ records }) => records.length))).toBe(SYNC_RECORDS_MAX)
  expect(new Set(gateway.records.map(({ request_id }) => request_id)).size).toBe(ids.length)
})

test('the last report comes after the end', async () => {
  const { gateway, journal, stop } = await setUp({ heartbeat_ms: 10_000 })
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
