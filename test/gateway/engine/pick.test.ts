import { expect, test } from 'vitest'
import { pickNode } from '../../../gateway/engine/pick.ts'
import { seededRandom } from '../../support/random.ts'

const node = (id: string, running: number, waiting = 0) => ({ id, running, waiting })

test('of no nodes none is picked', () => {
  expect(pickNode([])).toBeNull()
})

test('the less loaded of the two drawn is picked', () => {
  const nodes = [node('busy', 5, 5), node('idle', 0)]
  const draws = [0, 0.9]
  expect(pickNode(nodes, () => draws.shift()!)?.id).toBe('idle')
})

test('a burst against the same report spreads over all but the most loaded', () => {
  const random = seededRandom(1)
  const nodes = [node('a', 1), node('b', 1), node('c', 1), node('full', 50, 50)]
  const counts: Record<string, number> = {}
  for (let i = 0; i < 4000; i += 1) {
    const { id } = pickNode(nodes, () => random.below(1 << 30) / (1 << 30))!
    counts[id] = (counts[id] ?? 0) + 1
  }
  for (const id of ['a', 'b', 'c']) expect(counts[id]).toBeGreaterThan(900)
  expect(counts.full).toBeLessThan(400)
})
