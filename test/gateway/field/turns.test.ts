// Whose turn it is at a large body, on the clock of the test.

import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { Turns } from '../../../gateway/field/turns.ts'
import { seededRandom } from '../../support/random.ts'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

function newTurns({ wait_ms_max = 2000, turn_ms_max = 250 } = {}) {
  const turns = new Turns({ wait_ms_max, turn_ms_max })
  return { mine: (party: string) => turns.mine(party, () => {}) }
}

test('nobody waits where nobody is before them', async () => {
  const turns = newTurns()
  for (let i = 0; i < 3; i += 1) {
    expect(await turns.mine('a')).toBe(true)
    await vi.advanceTimersByTimeAsync(1)
  }
})

test('one has the turn at a time, the parties in turn, each party’s in its order', async () => {
  const random = seededRandom()
  for (let round = 0; round < 20; round += 1) {
    const turns = newTurns()
    const asked = Array.from({ length: 1 + random.below(30) }, () => random.pick(['a', 'b', 'c']))
    const had: string[][] = []
    for (const [i, party] of asked.entries()) void turns.mine(party).then(() => had.at(-1)!.push(`${party}${i}`))
    for (let turn = 0; turn < asked.length; turn += 1) {
      had.push([])
      await vi.advanceTimersByTimeAsync(0)
    }
    await vi.runAllTimersAsync()
    expect(had.flat().toSorted()).toEqual(asked.map((party, i) => `${party}${i}`).toSorted())
    for (const party of ['a', 'b', 'c']) {
      const own = had.flat().filter((one) => one.startsWith(party))
      expect(own).toEqual(own.toSorted((x, y) => Number(x.slice(1)) - Number(y.slice(1))))
    }
  }
})

test('behind a thousand of one party another’s first is second', async () => {
  const turns = newTurns()
  let many = 0
  for (let i = 0; i < 1000; i += 1) void turns.mine('many').then(() => (many += 1))
  const one = turns.mine('one').then(() => many)
  await vi.runAllTimersAsync()
  expect(await one).toBeLessThanOrEqual(2)
  expect(many).toBe(1000)
})

test('who waits for too long is refused, and has no turn later', async () => {
  const turns = newTurns({ turn_ms_max: 10_000 })
  await turns.mine('a')
  vi.clearAllTimers() // the turn is not passed on
  const refused = turns.mine('b')
  await vi.advanceTimersByTimeAsync(2000)
  expect(await refused).toBe(false)
  await vi.advanceTimersByTimeAsync(8000)
  expect(await turns.mine('c')).toBe(true)
})

test('a turn that its request does not end is taken from it', async () => {
  const turns = newTurns()
  await turns.mine('a')
  vi.clearAllTimers()
  const waiting = turns.mine('b')
  await vi.advanceTimersByTimeAsync(249)
  const next = turns.mine('c')
  await vi.advanceTimersByTimeAsync(10)
  expect([await waiting, await next]).toEqual([true, true])
})

test('what passes the turn on is handed over, for a request may have ended by then', async () => {
  const turns = new Turns({ wait_ms_max: 2000, turn_ms_max: 250 })
  const outlived: Promise<void>[] = []
  await turns.mine('a', (work) => outlived.push(work))
  const next = turns.mine('b', () => {})
  await vi.advanceTimersByTimeAsync(0)
  await Promise.all(outlived)
  expect(outlived).toHaveLength(1)
  expect(await next).toBe(true)
})
