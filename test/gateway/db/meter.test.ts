import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Meter } from '../../../gateway/db/meter.ts'

test('in any minute a key takes no more than two minutes’ worth, and who keeps to its rate is never refused', () => {
  const steps = fc.array(fc.record({ cost: fc.constantFrom(1, 10), pause_ms: fc.integer({ min: 0, max: 500 }) }), {
    maxLength: 300,
  })
  fc.assert(
    fc.property(steps, fc.integer({ min: 10, max: 600 }), (asked, per_minute) => {
      let now_ms = 0
      const meter = new Meter(per_minute, () => now_ms)
      const taken: { at_ms: number; cost: number }[] = []
      for (const { cost, pause_ms } of asked) {
        now_ms += pause_ms
        if (meter.take('key', cost)) taken.push({ at_ms: now_ms, cost })
      }
      for (const { at_ms } of taken) {
        const minute = taken.filter((one) => one.at_ms >= at_ms && one.at_ms < at_ms + 60_000)
        expect(minute.reduce((sum, { cost }) => sum + cost, 0)).toBeLessThanOrEqual(2 * per_minute)
      }
      now_ms += 60_000
      for (let i = 0; i < 20; i += 1, now_ms += 60_000 / per_minute) expect(meter.take('key', 1)).toBe(true)
    }),
  )
})

test('what is refused takes nothing, and one key nothing of another’s', () => {
  let now_ms = 0
  const meter = new Meter(60, () => now_ms)
  expect([meter.take('a', 60), meter.take('a', 1), meter.take('b', 60)]).toEqual([true, false, true])
  now_ms = 1000
  expect([meter.take('a', 10), meter.take('a', 1), meter.take('a', 1)]).toEqual([false, true, false])
})

test('it is full when nothing more is taken, and has room again as it drains', () => {
  let now_ms = 0
  const meter = new Meter(60, () => now_ms)
  meter.take('a', 59)
  expect(meter.isFull('a')).toBe(false)
  meter.take('a', 1)
  expect([meter.isFull('a'), meter.isFull('b')]).toEqual([true, false])
  now_ms = 1000
  expect(meter.isFull('a')).toBe(false)
})
