import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises'
import { expect, onTestFinished, test } from 'vitest'
import { type NodeStatus, SYNC_RECORDS_MAX, type UsageRecord } from '../../../contract/internal/sync.ts'
import { Journal } from '../../../gpu-node/meter/journal.ts'
import { Sync, type SyncOptions } from '../../../gpu-node/meter/sync.ts'
import { FakeGateway } from '../../support/fake-gateway.ts'
import { temporaryFolder } from '../../support/fake-node.ts'
import { newGate } from '../../support/gate.ts'
import { NODE_SECRET } from '../../support/generate.ts'

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

function finish(journal: Journal, ...request_ids: string[]): void {
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
    journal.accept({ ticket: 'ticket', request_id, attempt: 1, prompt_tokens: 1, duration_ms_max: 1000 })
    journal.step([], [record])
  }
}

async function setUp(options: Partial<SyncOptions> = {}) {
  const gateway = await FakeGateway.start()
  const journal = new Journal(temporaryFolder())
  const failures: string[] = []
  const sync = new Sync({
    gateway_url: gateway.url,
    node_secret: NODE_SECRET,
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
  expect(gateway.reports[0]).toEqual({ node: status, records: [] })
})

test('a finished record is reported at once, and once', async () => {
  const { gateway, journal, sync, stop } = await setUp({ heartbeat_ms: NEVER_MS })
  while (gateway.reports.length < 1) await sleep(5)
  finish(journal, 'a')
  sync.poke()
  await gateway.record('a')
  await stop()
  expect(gateway.records.map(({ request_id }) => request_id)).toEqual(['a'])
})

test('what finishes while a report is under way goes together with the next', async () => {
  const { gateway, journal, sync } = await setUp({ heartbeat_ms: NEVER_MS })
  const gate = newGate()
  gateway.answers = gate.pass
  finish(journal, 'a')
  sync.poke()
  await gateway.record('a')
  for (const request_id of ['b', 'c', 'd']) {
    finish(journal, request_id)
    sync.poke()
    await nextTurn()
  }
  gate.open()
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

test('the last report comes after the end', async () => {
  const { gateway, journal, stop } = await setUp({ heartbeat_ms: NEVER_MS })
  await sleep(50)
  finish(journal, 'a')
  await stop()
  expect(gateway.records.map(({ request_id }) => request_id)).toEqual(['a'])
})
