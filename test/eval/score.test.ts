// The estimator against the count of all choices, and the interval against published values.

import { expect, test } from 'vitest'
import { interval, passAtK } from '../../eval/score.ts'

/** The share of the choices of k samples in which one passed, by trying all of them. */
function byHand(n: number, c: number, k: number): number {
  let all = 0
  let some = 0
  for (let chosen = 0; chosen < 2 ** n; chosen++) {
    const members = Array.from({ length: n }, (_, i) => i).filter((i) => (chosen >> i) & 1)
    if (members.length !== k) continue
    all++
    if (members.some((i) => i < c)) some++
  }
  return some / all
}

test('pass@k is the share of all choices', () => {
  for (let n = 1; n <= 8; n++) {
    for (let c = 0; c <= n; c++) {
      for (let k = 1; k <= n; k++) expect(passAtK(n, c, k)).toBeCloseTo(byHand(n, c, k), 12)
    }
  }
})

test('the interval is that of Wilson', () => {
  // Newcombe 1998, table I.
  const [low, high] = interval(81, 263)
  expect([low.toFixed(4), high.toFixed(4)]).toEqual(['0.2553', '0.3662'])
  expect(interval(0, 20)[0]).toBe(0)
  expect(interval(0, 20)[1].toFixed(4)).toBe('0.1611')
  expect(interval(1, 29).map((bound) => bound.toFixed(4))).toEqual(['0.0061', '0.1718'])
})
