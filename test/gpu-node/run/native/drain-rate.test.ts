import { expect, test } from 'vitest'
import { DrainRate } from '../../../../gpu-node/run/native/drain-rate.ts'

const waiting = (remaining: number, output_tokens_max: number, output_tokens = 0) => ({
  remaining,
  output_tokens_max,
  output_tokens,
})

test('a queue takes its tokens over the measured rate, in whole seconds', () => {
  const rate = new DrainRate()
  rate.step(100, 1)
  expect(rate.secondsFor([waiting(200, 100), waiting(150, 50)])).toBe(5)
  expect(rate.secondsFor([waiting(201, 100), waiting(150, 50)])).toBe(6)
})

test('it is never less than a second and never more than a minute', () => {
  const rate = new DrainRate()
  expect(rate.secondsFor([waiting(1e6, 1e6)])).toBe(1) // nothing was measured yet
  rate.step(100, 1)
  expect(rate.secondsFor([])).toBe(1)
  expect(rate.secondsFor([waiting(1e6, 1e6)])).toBe(60)
})

test('answers are expected to be as long as they lately were, not as long as they may be', () => {
  const rate = new DrainRate()
  rate.step(10, 1)
  for (let i = 0; i < 100; i++) rate.ended(i < 50 ? 1000 : 20)
  expect(rate.secondsFor([waiting(100, 4000)])).toBeLessThan(20)
  expect(rate.secondsFor([waiting(100, 4000)])).toBeGreaterThanOrEqual(12)
  expect(rate.secondsFor([waiting(100, 4)])).toBe(11)
  expect(rate.secondsFor([waiting(200, 4000, 100)])).toBe(20) // a preempted one has most of it already
})

test('the rate follows a change within seconds of work, and no single step moves it much', () => {
  const rate = new DrainRate()
  const after = (steps: number, tokens: number) => {
    for (let i = 0; i < steps; i++) rate.step(tokens, 0.01)
    return rate.secondsFor([waiting(990, 0)])
  }
  expect(after(100, 10)).toBe(1) // 1000 tokens a second
  expect(after(1, 0)).toBeLessThanOrEqual(2)
  expect(after(3000, 1)).toBeGreaterThan(6) // 100 tokens a second, for 30 s
})
