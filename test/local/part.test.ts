import { afterEach, expect, test, vi } from 'vitest'
import type { Exit } from '../../local/children.ts'
import { Part, type Running } from '../../local/part.ts'

/** A part whose lives are ended by hand; a launch fails while `broken` is set. */
function fakePart() {
  const state = { launches: 0, stops: 0, broken: false, end: (_exit: Exit) => {} }
  const part = new Part('gateway', async () => {
    state.launches++
    if (state.broken) throw new Error('its port is taken')
    const { promise: exited, resolve } = Promise.withResolvers<Exit>()
    state.end = resolve
    return { exited, stop: async () => void state.stops++ }
  })
  return { part, state }
}

afterEach(() => void vi.useRealTimers())

test('what ends by itself is started again after pauses that grow, and each is said', async () => {
  vi.useFakeTimers()
  const { part, state } = fakePart()
  const said: string[] = []
  await part.start()
  part.keepUp((line) => said.push(line))
  state.broken = true
  state.end({ code: null, signal: 'SIGKILL' })
  await vi.advanceTimersByTimeAsync(500 + 1000)
  state.broken = false
  await vi.advanceTimersByTimeAsync(2000)
  expect(said).toEqual([
    '✗ the gateway ended (SIGKILL); starting it again in 0.5 s',
    '✗ the gateway did not start (its port is taken); starting it again in 1 s',
    '✗ the gateway did not start (its port is taken); starting it again in 2 s',
    '✓ the gateway runs again',
  ])
  expect(state.launches).toBe(4)
  await part.stop()
  expect(state.stops).toBe(1)
})

test('what ends again soon after its start waits longer each time, at most 30 s', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
  const { part, state } = fakePart()
  const said: string[] = []
  await part.start()
  part.keepUp((line) => said.push(line))
  for (let lives = 0; lives < 8; lives++) {
    state.end({ code: 1, signal: null })
    await vi.advanceTimersByTimeAsync(30_000)
  }
  const pauses = said.flatMap((line) => /in ([\d.]+) s/.exec(line)?.[1] ?? [])
  expect(pauses).toEqual(['0.5', '1', '2', '4', '8', '16', '30', '30'])
  await part.stop()
})

test('a stop ends the pause before the next start, and nothing is started after it', async () => {
  const { part, state } = fakePart()
  await part.start()
  part.keepUp(() => {})
  state.end({ code: 1, signal: null })
  await new Promise((resolve) => setTimeout(resolve, 20))
  await part.stop()
  expect(state.launches).toBe(1)
  await expect(part.start()).rejects.toThrow('being stopped')
})

test('a stop aborts a start that is under way', async () => {
  const part = new Part(
    'node',
    (signal) => new Promise<Running>((_, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
  )
  const starting = part.start()
  await part.stop()
  await expect(starting).rejects.toThrow('being stopped')
})
