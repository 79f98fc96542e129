// Streams over a disk that refuses now and then: nothing reaches a reader that is not in the journal, and everything goes on.

import { writeSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, onTestFinished, test } from 'vitest'
import { Generation } from '../../../gpu-node/answer/generation.ts'
import { Journal } from '../../../gpu-node/meter/journal.ts'
import { Streams } from '../../../gpu-node/serve/streams.ts'
import { temporaryFolder } from '../../support/fake-node.ts'
import { FakeRunner, textOfChoice } from '../../support/fake-runner.ts'
import { framesOf, generateRequest, textOf } from '../../support/generate.ts'
import { journalLines, readerOf } from '../../support/journal.ts'
import { seededRandom } from '../../support/random.ts'

const STREAMS = Number(process.env.DISK_STREAMS ?? 12)
const TOKENS = 40
const REFUSALS = ['ENOSPC', 'EIO', 'EDQUOT', 'EROFS'] as const

/** Streams over a fake runner and a real journal, on a disk that refuses when told to. */
async function setUp() {
  const folder = temporaryFolder()
  const disk: { refusal: string | null } = { refusal: null }
  const write = ((...args: Parameters<typeof writeSync>) => {
    if (disk.refusal) throw Object.assign(new Error('refused'), { code: disk.refusal })
    return writeSync(...args)
  }) as typeof writeSync
  const journal = new Journal(folder, { write })
  const runner = new FakeRunner({ step_ms: 1 })
  const streams = new Streams({
    journal,
    metrics: { step: () => {}, ended: () => {} },
    on_finished: () => {},
    whenSettled: async () => {},
    on_failed: (error) => expect.unreachable(String(error)),
  })
  await runner.open(streams)
  onTestFinished(async () => {
    disk.refusal = null
    await runner.close()
    journal.close()
  })
  return { folder, disk, journal, runner, streams }
}

/** What the journal on the disk has of a request. */
function counted(folder: string, request_id: string): number {
  return Math.max(
    0,
    ...journalLines(folder).flatMap(({ counts = [], finished = [] }) => [
      ...counts.filter(([key]) => key === `${request_id}/1`).map(([, , , tokens]) => tokens),
      ...finished.filter((one) => one.request_id === request_id).map((one) => one.completion_tokens),
    ]),
  )
}

function isFinished(folder: string, request_id: string): boolean {
  return journalLines(folder).some(({ finished = [] }) => finished.some((one) => one.request_id === request_id))
}

test('nothing is delivered that is not on the disk; streams pause while it refuses, and end whole', async () => {
  const random = seededRandom()
  const { folder, disk, journal, runner, streams } = await setUp()
  const texts = new Map<string, string>()
  const ahead: string[] = [] // delivered before it was on the disk
  const open = Array.from({ length: STREAMS }, () => {
    const request = generateRequest({ stream: random.chance(0.8), max_tokens: TOKENS, n: 1 })
    const { request_id } = request
    const generation = new Generation({ ticket: 't', attempt: 1, request, run: runner.prepare(request) })
    journal.accept({ ticket: 't', request_id, attempt: 1, duration_ms_max: 1000 })
    texts.set(request_id, '')
    const take = (bytes: string) => {
      if (bytes !== '' && counted(folder, request_id) < generation.completion_tokens) ahead.push(request_id)
      texts.set(request_id, texts.get(request_id)! + bytes)
    }
    const end = (bytes: string) => {
      if (!isFinished(folder, request_id)) ahead.push(request_id)
      take(bytes)
    }
    streams.start(generation, readerOf({ write: take, end }))
    return { generation, request }
  })
  // Some end by their client or their time, also while the disk refuses.
  const ended = open.filter(() => random.chance(0.4))
  let is_over = false
  const idle = streams.whenIdle().then(() => {
    is_over = true
  })
  while (!is_over) {
    await sleep(random.below(8))
    disk.refusal = random.chance(0.8) ? random.pick(REFUSALS) : null
    const next = random.chance(0.5) ? ended.pop() : undefined
    if (next) streams.stop(next.generation, random.pick(['client_gone', 'deadline', 'revoked', 'error'] as const))
    await sleep(random.below(10))
    disk.refusal = null
    await journal.written() // it tries again by itself
  }
  await idle
  expect(ahead).toEqual([])
  for (const { generation, request } of open) {
    const text = texts.get(request.request_id)!
    const last = journalLines(folder).flatMap(({ finished = [] }) => finished)
    const record = last.find(({ request_id }) => request_id === request.request_id)!
    expect(record.outcome).toBe(generation.outcome)
    expect(record.delivered_tokens).toBeLessThanOrEqual(record.completion_tokens)
    if (record.outcome === 'length' && request.stream) {
      expect(framesOf(text).at(-1)).toBe('[DONE]')
      expect(textOf(text)).toBe(textOfChoice(0, TOKENS))
    }
  }
})
