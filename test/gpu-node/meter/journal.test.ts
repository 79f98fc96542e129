import { appendFileSync, mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import type { UsageRecord } from '../../../contract/internal/sync.ts'
import { type Acceptance, Journal, type JournalOptions, type StepCounts } from '../../../gpu-node/meter/journal.ts'
import { seededRandom } from '../../support/random.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'ziya-journal-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
})

const open = (options?: JournalOptions) => new Journal(folder, options)
const file = () => join(folder, 'journal.jsonl')

const acceptance = (request_id: string, more: Partial<Acceptance> = {}): Acceptance => ({
  ticket: `ticket of ${request_id}`,
  request_id,
  attempt: 1,
  prompt_tokens: 7,
  duration_ms_max: 60_000,
  ...more,
})
const counts = (request_id: string, completion_tokens: number): StepCounts => ({
  request_id,
  attempt: 1,
  completion_tokens,
  delivered_tokens: completion_tokens - 1,
  first_token_ms: 5,
  duration_ms: 10 * completion_tokens,
})
const record = (request_id: string, completion_tokens = 3): UsageRecord => ({
  ...counts(request_id, completion_tokens),
  ticket: `ticket of ${request_id}`,
  prompt_tokens: 7,
  cached_tokens: 0,
  outcome: 'stop',
  started_unix_ms: 1,
})

describe('after a crash', () => {
  test('an open generation is node_lost with the counts last journalled', () => {
    const journal = open({ now: () => 1000 })
    journal.accept(acceptance('a'))
    journal.step([counts('a', 1)], [])
    journal.step([counts('a', 2)], [])
    expect(open().unacknowledged(10)).toEqual([
      {
        ...counts('a', 2),
        ticket: 'ticket of a',
        prompt_tokens: 7,
        cached_tokens: 0,
        outcome: 'node_lost',
        started_unix_ms: 1000,
      },
    ])
  })

  test('an accepted one that never made a token is node_lost with none', () => {
    open().accept(acceptance('a'))
    expect(open().unacknowledged(10)).toMatchObject([{ outcome: 'node_lost', completion_tokens: 0 }])
  })

  test('a finished record is kept as it was, until it is acknowledged', () => {
    const journal = open()
    journal.accept(acceptance('a'))
    journal.step([], [record('a')])
    expect(open().unacknowledged(10)).toEqual([record('a')])
    open().acknowledge([{ request_id: 'a', attempt: 1 }])
    expect(open().unacknowledged(10)).toEqual([])
  })

  test('a ticket stays used while it could live', () => {
    let now = 1000
    const clock = { now: () => now }
    const journal = open(clock)
    journal.accept(acceptance('a', { duration_ms_max: 60_000 }))
    journal.step([], [record('a')])
    journal.acknowledge([{ request_id: 'a', attempt: 1 }])
    expect(open(clock).wasUsed('a', 1)).toBe(true)
    expect(open(clock).wasUsed('a', 2)).toBe(false)
    now += 60_000 + 15 * 60_000 + 1
    expect(open(clock).wasUsed('a', 1)).toBe(false)
  })

  test('wherever the file was cut, what was whole before the cut is kept', () => {
    const journal = open()
    journal.accept(acceptance('a'))
    for (let k = 1; k <= 3; k++) journal.step([counts('a', k)], [])
    journal.step([], [record('a', 3)])
    const whole = readFileSync(file())
    const at = [...whole.toString()].flatMap((c, i) => (c === '\n' ? [i] : []))
    for (let length = whole.length; length >= at.at(-5)!; length--) {
      truncateSync(file(), length)
      const lines = at.filter((end) => end <= length).length - (at.length - 5)
      const [kept] = reopenCopy()
      if (lines === 5) expect(kept).toMatchObject({ outcome: 'stop', completion_tokens: 3 })
      else expect(kept).toMatchObject({ outcome: 'node_lost', completion_tokens: lines - 1 })
    }
    function reopenCopy() {
      const saved = readFileSync(file())
      const records = open().unacknowledged(10)
      truncateSync(file(), 0)
      appendFileSync(file(), saved)
      return records
    }
  })
})

test('a step is one write', () => {
  let writes = 0
  const journal = open({
    write: ((...args: Parameters<typeof writeSync>) => {
      writes++
      return writeSync(...args)
    }) as typeof writeSync,
  })
  journal.accept(acceptance('a'))
  journal.accept(acceptance('b'))
  writes = 0
  journal.step([counts('a', 1)], [record('b')])
  expect(writes).toBe(1)
})

describe('a full disk', () => {
  function fullDisk() {
    const disk = { full: false, partly: false }
    const write = ((...args: [number, Buffer, number, number, number]) => {
      if (disk.partly) return writeSync(args[0], args[1], 0, Math.floor(args[3] / 2), args[4])
      if (disk.full) throw Object.assign(new Error('no space'), { code: 'ENOSPC' })
      return writeSync(...args)
    }) as typeof writeSync
    return { disk, write }
  }

  test.each(['full', 'partly'] as const)('(%s) refuses new requests, and loses nothing of running ones', (how) => {
    const { disk, write } = fullDisk()
    const journal = open({ write })
    journal.accept(acceptance('a'))
    disk[how] = true
    expect(journal.accept(acceptance('b'))).toBe(false)
    expect(journal.wasUsed('b', 1)).toBe(false)
    journal.step([counts('a', 1)], [])
    journal.step([], [record('a', 2)])
    expect(journal.has_room).toBe(false)
    disk[how] = false
    journal.retry()
    expect(journal.has_room).toBe(true)
    expect(open().unacknowledged(10)).toEqual([record('a', 2)])
  })
})

test('too many unacknowledged records refuse new requests', () => {
  const journal = open({ records_max: 2 })
  for (const id of ['a', 'b']) {
    expect(journal.accept(acceptance(id))).toBe(true)
    journal.step([], [record(id)])
  }
  expect(journal.accept(acceptance('c'))).toBe(false)
  journal.acknowledge([{ request_id: 'a', attempt: 1 }])
  expect(journal.accept(acceptance('c'))).toBe(true)
})

test('acknowledged records are compacted away, and nothing else', () => {
  const journal = open({ compact_bytes: 20_000 })
  journal.accept(acceptance('open'))
  journal.step([counts('open', 4)], [])
  for (let i = 0; i < 500; i++) {
    journal.accept(acceptance(`r${i}`, { duration_ms_max: -16 * 60_000 })) // its ticket is already too old to come again
    journal.step([], [record(`r${i}`)])
    journal.acknowledge([{ request_id: `r${i}`, attempt: 1 }])
  }
  expect(statSync(file()).size).toBeLessThan(25_000)
  const reopened = open()
  expect(reopened.unacknowledged(10)).toMatchObject([
    { request_id: 'open', completion_tokens: 4, outcome: 'node_lost' },
  ])
  expect(reopened.wasUsed('open', 1)).toBe(true)
})

test('random histories, killed at any operation, replay to what memory held', () => {
  const random = seededRandom()
  for (let round = 0; round < 30; round++) {
    rmSync(file(), { force: true })
    const journal = open({ compact_bytes: 2000 })
    const live = new Map<string, number>()
    const finished = new Map<string, number>()
    for (let i = 0, operations = random.below(200); i < operations; i++) {
      const id = random.pick([...live.keys(), 'none'])
      if (random.chance(0.3)) {
        journal.accept(acceptance(`r${i}`))
        live.set(`r${i}`, 0)
      } else if (id !== 'none' && random.chance(0.7)) {
        live.set(id, live.get(id)! + 1)
        journal.step([counts(id, live.get(id)!)], [])
      } else if (id !== 'none') {
        journal.step([], [record(id, live.get(id)!)])
        finished.set(id, live.get(id)!)
        live.delete(id)
      } else if (finished.size > 0) {
        const done = random.pick([...finished.keys()])
        journal.acknowledge([{ request_id: done, attempt: 1 }])
        finished.delete(done)
      }
    }
    const replayed = open().unacknowledged(1000)
    const seen = replayed.map((r) => [r.request_id, r.outcome, r.completion_tokens].join()).sort()
    const expected = [
      ...[...live].map(([id, tokens]) => [id, 'node_lost', tokens].join()),
      ...[...finished].map(([id, tokens]) => [id, 'stop', tokens].join()),
    ].sort()
    expect(seen).toEqual(expected)
  }
})

test('a record names the ledger of its acceptance, over kills and compactions, however it ended', () => {
  const journal = open({ compact_bytes: 1 })
  journal.accept(acceptance('ended', { ledger_id: 'first' }))
  journal.accept(acceptance('killed', { ledger_id: 'second' }))
  journal.accept(acceptance('old'))
  const { duration_ms_max: _, ...told } = acceptance('ended')
  const record: UsageRecord = {
    ...told,
    cached_tokens: 0,
    completion_tokens: 1,
    delivered_tokens: 1,
    outcome: 'stop',
    started_unix_ms: 1,
    first_token_ms: 1,
    duration_ms: 1,
  }
  journal.step([], [record])
  for (const next of [journal, open(), open()]) {
    const ledgers = new Map(next.unacknowledged(9).map(({ request_id, ledger_id }) => [request_id, ledger_id]))
    expect(ledgers.get('ended')).toBe('first')
    if (next !== journal) expect([ledgers.get('killed'), ledgers.get('old')]).toEqual(['second', undefined])
  }
  const later = open()
  expect(later.unacknowledged(9, 'second').map(({ request_id }) => request_id)).toEqual(
    expect.arrayContaining(['killed', 'old']),
  )
  expect(later.unacknowledged(9, 'second')).toHaveLength(2)
  expect([later.countElsewhere('second'), later.countElsewhere(undefined)]).toEqual([1, 0])
})
