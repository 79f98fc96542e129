// Work of batches beside requests that somebody waits for, on a clock of its own.

import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { awaited, beingAwaited, giveWay, inTurns } from '../../gateway/give-way.ts'

beforeEach(() => {
  vi.useFakeTimers()
})
afterEach(async () => {
  await vi.advanceTimersByTimeAsync(1000) // nobody is awaited any more
  vi.useRealTimers()
})

/** After how many milliseconds it goes on. */
async function held(): Promise<number> {
  const began = Date.now()
  let went_on: number | null = null
  void giveWay().then(() => {
    went_on = Date.now()
  })
  while (went_on === null) await vi.advanceTimersByTimeAsync(1)
  return went_on - began
}

const request = (ms: number) => beingAwaited(() => new Promise((resolve) => setTimeout(resolve, ms)))

test('goes on at once where nobody waits', async () => {
  expect(await held()).toBeLessThanOrEqual(1)
})

test('waits for the head of an answer, and a little for its first token', async () => {
  void request(8)
  const ms = await held()
  expect(ms).toBeGreaterThanOrEqual(8 + 20)
  expect(ms).toBeLessThanOrEqual(8 + 30)
})

test('waits for a bounded time, however many come one after the other', async () => {
  const coming = setInterval(() => void request(8), 5)
  void request(8)
  const ms = await held()
  clearInterval(coming)
  expect(ms).toBeLessThanOrEqual(50)
})

test('does not wait for an answer that takes long anyway, nor for one that failed', async () => {
  void request(10_000)
  await vi.advanceTimersByTimeAsync(300)
  expect(await held()).toBeLessThanOrEqual(1)
  await beingAwaited(() => Promise.reject(new Error('refused'))).catch(() => {})
  await vi.advanceTimersByTimeAsync(30)
  expect(await held()).toBeLessThanOrEqual(1)
})

test('nothing is kept of who was answered, also where no work gives way', async () => {
  for (let n = 0; n < 2000; n++) {
    void request(n % 100 === 0 ? 10_000 : 8)
    await vi.advanceTimersByTimeAsync(1)
    expect(awaited.size).toBeLessThanOrEqual(251)
  }
})

test('a step is done a few items at a time, all of them in order, and ends where somebody is always awaited', async () => {
  const coming = setInterval(() => void request(8), 5)
  void request(8)
  const done: number[] = []
  const began = Date.now()
  let ms: number | null = null
  const step = async () => {
    for await (const item of inTurns(Array.from({ length: 1000 }, (_, n) => n))) done.push(item)
    ms = Date.now() - began
  }
  void step()
  await vi.advanceTimersByTimeAsync(100)
  expect(done.length).toBeLessThan(20) // it gave way
  while (ms === null) await vi.advanceTimersByTimeAsync(10)
  clearInterval(coming)
  expect(done).toEqual(Array.from({ length: 1000 }, (_, n) => n))
  expect(ms).toBeLessThan(2000)
})
