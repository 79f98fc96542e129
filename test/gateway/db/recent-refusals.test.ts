import { expect, test } from 'vitest'
import { RecentRefusals } from '../../../gateway/db/recent-refusals.ts'

test('who was refused is refused again for that long, and nobody else is', () => {
  let now_ms = 1000
  const refusals = new RecentRefusals(100, () => now_ms)
  refusals.add('list a')
  now_ms += 99
  expect(['list a', 'read a', 'list b', null].map((asker) => refusals.has(asker))).toEqual([true, false, false, false])
  now_ms += 1
  expect(refusals.has('list a')).toBe(false)
})

test('a refusal anew counts anew', () => {
  let now_ms = 0
  const refusals = new RecentRefusals(100, () => now_ms)
  refusals.add('list a')
  now_ms += 90
  refusals.add('list a')
  now_ms += 90
  expect(refusals.has('list a')).toBe(true)
})

test('the oldest are forgotten where there are too many', () => {
  const refusals = new RecentRefusals(100, () => 0)
  for (let i = 0; i <= 10_000; i += 1) refusals.add(`list ${i}`)
  expect([0, 1, 10_000].map((i) => refusals.has(`list ${i}`))).toEqual([false, true, true])
})
