import { spawnSync } from 'node:child_process'
import {
  appendFileSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import type { UsageRecord } from '../../../contract/internal/sync.ts'
import { type Acceptance, Journal, type JournalOptions, type StepCounts } from '../../../gpu-node/meter/journal.ts'
import { type Random, seededRandom } from '../../support/random.ts'

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
  duration_ms_max: 60_000,
  ...more,
})
const counts = (request_id: string, completion_tokens: number): StepCounts => ({
  request_id,
  attempt: 1,
  prompt_tokens: 7,
  cached_tokens: 3,
  completion_tokens,
  delivered_tokens: completion_tokens - 1,
  first_token_ms: 5,
  duration_ms: 10 * completion_tokens,
})
const record = (request_id: string, completion_tokens = 3): UsageRecord => ({
  ...counts(request_id, completion_tokens),
  ticket: `ticket of ${request_id}`,
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

describe('a disk that refuses', () => {
  type Refusal = 'ENOSPC' | 'EIO' | 'EDQUOT' | 'EROFS' | 'a part'

  function refusingDisk() {
    const disk: { refusal: Refusal | null } = { refusal: null }
    const write = ((...args: [number, Buffer, number, number, number]) => {
      if (disk.refusal === 'a part') return writeSync(args[0], args[1], 0, Math.floor(args[3] / 2), args[4])
      if (disk.refusal) throw Object.assign(new Error('refused'), { code: disk.refusal })
      return writeSync(...args)
    }) as typeof writeSync
    return { disk, write }
  }

  test.each(['ENOSPC', 'EIO', 'EDQUOT', 'EROFS', 'a part'] as const)(
    '(%s) takes no new requests, and nothing of running ones is lost',
    async (refusal) => {
      const { disk, write } = refusingDisk()
      const journal = open({ write })
      journal.accept(acceptance('a'))
      disk.refusal = refusal
      expect(journal.accept(acceptance('b'))).toBe(false)
      expect(journal.wasUsed('b', 1)).toBe(false)
      journal.step([counts('a', 1)], [])
      journal.step([], [record('a', 2)])
      expect(journal).toMatchObject({ has_room: false, is_written: false })
      expect(journal.health.refused_by_disk).toBe(refusal === 'a part' ? 'ENOSPC' : refusal)
      expect(open().unacknowledged(10)).toMatchObject([{ outcome: 'node_lost', completion_tokens: 0 }])
    },
  )

  test('is tried again by itself, and then everything is there', async () => {
    const { disk, write } = refusingDisk()
    const journal = open({ write })
    journal.accept(acceptance('a'))
    disk.refusal = 'ENOSPC'
    journal.step([], [record('a', 2)])
    let is_written = false
    const written = journal.written().then(() => {
      is_written = true
    })
    await new Promise((resolve) => setTimeout(resolve, 250))
    expect(is_written).toBe(false)
    disk.refusal = null
    await written
    expect(journal).toMatchObject({ has_room: true, health: { refused_by_disk: null } })
    expect(open().unacknowledged(10)).toEqual([record('a', 2)])
  })

  test('keeps what was acknowledged unacknowledged, until it takes it', () => {
    const { disk, write } = refusingDisk()
    const journal = open({ write })
    journal.accept(acceptance('a'))
    journal.step([], [record('a')])
    disk.refusal = 'EIO'
    expect(journal.acknowledge([{ request_id: 'a', attempt: 1 }], 1)).toBe(false)
    expect(journal.unacknowledged(10)).toHaveLength(1)
    disk.refusal = null
    expect(journal.acknowledge([{ request_id: 'a', attempt: 1 }], 1)).toBe(true)
    expect(journal.unacknowledged(10)).toEqual([])
  })

  test('any other error is thrown: it is a fault of ours', () => {
    const journal = open()
    journal.close()
    expect(() => journal.accept(acceptance('a'))).toThrow('EBADF')
  })
})

describe('a damaged file', () => {
  const DAMAGES = Number(process.env.JOURNAL_DAMAGES ?? 30)

  /** Finished, open and half-acknowledged generations, over many frames. */
  function fill(random: Random): Map<string, number> {
    const journal = open({ compact_bytes: 1500 })
    const tokens = new Map<string, number>()
    for (let i = 0; i < 40; i++) {
      journal.accept(acceptance(`r${i}`))
      tokens.set(`r${i}`, random.below(5))
      for (let k = 1; k <= tokens.get(`r${i}`)!; k++) journal.step([counts(`r${i}`, k)], [])
      if (random.chance(0.8)) journal.step([], [record(`r${i}`, tokens.get(`r${i}`)!)])
    }
    journal.close()
    return tokens
  }

  /** Which frames a damage may cost: those whose bytes it touched. */
  function damage(random: Random, bytes: Buffer): { damaged: Buffer; from: number; to: number; how: string } {
    const from = random.below(bytes.length - 1)
    const length = 1 + random.below(random.chance(0.5) ? 1 : 300)
    const to = Math.min(bytes.length, from + length)
    const noise = () => Buffer.from(Array.from({ length }, () => random.below(256)))
    const rest = bytes.subarray(to)
    switch (random.pick(['flipped', 'zeroed', 'removed', 'inserted', 'copied'] as const)) {
      case 'flipped': {
        const damaged = Buffer.from(bytes)
        for (let i = from; i < to; i++) damaged[i]! ^= 1 << random.below(8)
        return { damaged, from, to, how: 'flipped' }
      }
      case 'zeroed':
        return { damaged: Buffer.from(bytes).fill(0, from, to), from, to, how: 'zeroed' }
      case 'removed':
        return { damaged: Buffer.concat([bytes.subarray(0, from), rest]), from, to, how: 'removed' }
      case 'inserted':
        return {
          damaged: Buffer.concat([bytes.subarray(0, from), noise(), bytes.subarray(from)]),
          from,
          to: from,
          how: 'inserted',
        }
      case 'copied': {
        const at = random.below(from + 1) // an old block that came back
        const copy = bytes.subarray(at, at + 20 * length)
        return {
          damaged: Buffer.concat([bytes.subarray(0, from), copy, bytes.subarray(from)]),
          from,
          to: from,
          how: 'copied',
        }
      }
    }
  }

  const linesOf = (bytes: Buffer) => bytes.toString('latin1').split('\n')

  /** The request ids that the frames touched by it name. */
  function touched(bytes: Buffer, from: number, to: number): Set<string> {
    let start = 0
    const ids = new Set<string>()
    for (const frame of bytes.toString('latin1').split(/(?<=\n)/)) {
      const end = start + frame.length
      // A frame whose newline alone is gone is whole.
      if (start < Math.max(to, from + 1) && end - 1 > from)
        for (const [, id] of frame.matchAll(/"(?:ticket of )?(r\d+)(?=["/])/g)) ids.add(id!)
      start = end
    }
    return ids
  }

  test(`${DAMAGES} times drawn at random costs the frames it touches, and no other; the file is kept aside`, () => {
    const random = seededRandom()
    for (let round = 0; round < DAMAGES; round++) {
      rmSync(folder, { recursive: true })
      const tokens = fill(random)
      const before = readFileSync(file())
      const { damaged, from, to, how } = damage(random, before)
      const lost = touched(before, from, to)
      writeFileSync(file(), damaged)
      const journal = open()
      const records = new Map(journal.unacknowledged(1000).map((one) => [one.request_id, one]))
      for (const [id, completion_tokens] of tokens)
        if (!lost.has(id))
          expect(records.get(id), `${how} at ${from} to ${to}: ${id}`).toMatchObject({ completion_tokens })
      // What was found is kept where anything of it was lost.
      const is_cut = damaged.equals(before.subarray(0, damaged.length)) // no more than a write that was killed
      const is_of_whole_frames = linesOf(damaged).every((line) => linesOf(before).includes(line)) // nothing shows that any is gone
      if (lost.size > 0 && !is_cut && !is_of_whole_frames && how !== 'copied') {
        expect(journal.damage, `${how} at ${from} to ${to}`).not.toBeNull()
        expect(readFileSync(journal.damage!.kept_as).equals(damaged)).toBe(true)
        expect(journal.health.damaged_files).toBe(1)
      }
      journal.close()
      expect(open().damage, 'it is whole again').toBeNull()
    }
  })

  test('whose end looks like the begin of a frame is no killed write: it has the end of a line', () => {
    const journal = open()
    journal.accept(acceptance('a'))
    journal.step([counts('a', 1)], [])
    journal.step([counts('a', 2)], [])
    journal.close()
    const bytes = readFileSync(file())
    const last = bytes.lastIndexOf('\n', bytes.length - 2) + 1
    writeFileSync(file(), Buffer.concat([bytes.subarray(0, last + 30), bytes.subarray(bytes.length - 10)]))
    const opened = open()
    expect(opened.unacknowledged(10)).toMatchObject([{ request_id: 'a', completion_tokens: 1 }])
    expect(opened.damage).not.toBeNull()
  })

  test('may have forgotten how much was acknowledged: what was is told again', () => {
    const journal = open()
    journal.accept(acceptance('a'))
    journal.step([], [record('a')])
    journal.acknowledge([{ request_id: 'a', attempt: 1 }], 1)
    journal.close()
    writeFileSync(
      file(),
      readFileSync(file(), 'utf8').replace('"acknowledged"', '"acknowIedged"').replace('"outcome"', '"outcom3"'),
    )
    expect(open().position).toMatchObject({ mark: 0, is_resending: true })
    const again = open() // killed before it told anything
    expect(again.unacknowledged(10)).toMatchObject([record('a')])
    again.acknowledge([{ request_id: 'a', attempt: 1 }], 1)
    expect(again.unacknowledged(10)).toEqual([])
    expect(again.position).toMatchObject({ mark: 1, is_resending: false })
  })

  test('of a journal, or of the id that is kept beside it, makes no other journal of it', () => {
    const { id } = open().position
    for (const damaged of [file(), join(folder, 'journal-id')]) {
      writeFileSync(damaged, readFileSync(damaged, 'utf8').replace(id, id.slice(0, -1)))
      expect(open().position.id).toBe(id)
    }
  })

  test('of one journal is no reason to charge two records, or a copy of an old one', () => {
    const journal = open()
    journal.accept(acceptance('a'))
    journal.step([counts('a', 1)], [])
    const old = readFileSync(file())
    journal.step([counts('a', 2)], [])
    journal.close()
    appendFileSync(file(), old) // as a disk that brings back an old block does
    expect(open().unacknowledged(10)).toMatchObject([{ request_id: 'a', completion_tokens: 2 }])
  })
})

test('the journal of a release before frames is read, a damaged line of it left out', () => {
  const line = (value: object) => `${JSON.stringify(value)}\n`
  const opened = (id: string) => ({ ...acceptance(id), prompt_tokens: 7, cached_tokens: 0, started_unix_ms: 1 })
  const old = [
    line({ used: [['x/1', 4e15]] }),
    line({ accepted: { ...opened('a'), completion_tokens: 0, delivered_tokens: 0 }, used_until_ms: 4e15 }),
    line({ accepted: { ...opened('b'), completion_tokens: 0, delivered_tokens: 0 }, used_until_ms: 4e15 }),
    line({ counts: [['a/1', 2, 1, 5, 20]], finished: [] }),
    '{"counts":[["a/1",3,x\n',
    line({ counts: [], finished: [record('b', 4)] }),
    '{"counts":[["a/1",4,3,',
  ]
  writeFileSync(file(), old.join(''))
  const journal = open()
  expect(journal.wasUsed('x', 1)).toBe(true)
  expect(journal.unacknowledged(10)).toMatchObject([
    { request_id: 'b', completion_tokens: 4, outcome: 'stop' },
    { request_id: 'a', prompt_tokens: 7, completion_tokens: 2, delivered_tokens: 1, outcome: 'node_lost' },
  ])
  expect(journal.damage?.bytes).toBeGreaterThan(0)
})

test('a journal of steps that nobody acknowledges is compacted by its size', () => {
  const journal = open({ compact_bytes: 20_000 })
  journal.accept(acceptance('a'))
  for (let k = 1; k < 3000; k++) journal.step([counts('a', k)], [])
  expect(statSync(file()).size).toBeLessThan(25_000)
  expect(open().unacknowledged(10)).toMatchObject([{ completion_tokens: 2999, outcome: 'node_lost' }])
})

// A year without the gateway is 543 MB and more: JOURNAL_MEGABYTES=543.
const MEGABYTES = Number(process.env.JOURNAL_MEGABYTES ?? 12)

test(`${MEGABYTES} MB of steps and records open within 64 MB of heap`, { timeout: 300_000 }, () => {
  const program = join(import.meta.dirname, 'large-journal.ts')
  const child = spawnSync(process.execPath, ['--max-old-space-size=64', program, folder, String(MEGABYTES)], {
    encoding: 'utf8',
  })
  expect(child).toMatchObject({ status: 0, stderr: '' })
  expect(JSON.parse(child.stdout)).toEqual({ records: 2000, first: 'r0', last_tokens: 9, is_small: true })
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
    prompt_tokens: 1,
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
