// The queue by parties, against what it has to hold whatever is asked of it.

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { FairQueue } from '../../../gateway/db/fair-queue.ts'

const queued = fc.record({ party: fc.constantFrom('a', 'b', 'c', 'd'), name: fc.constantFrom('x', 'x', 'x', 'y') })

function filled(items: { party: string; name: string }[]) {
  const queue = new FairQueue<{ party: string; name: string; i: number }>()
  items.forEach((item, i) => void queue.push({ ...item, i }))
  return queue
}

test('everything comes out once, of one name a batch, each party’s in its order, and no party twice before another once', () => {
  fc.assert(
    fc.property(fc.array(queued, { maxLength: 60 }), fc.integer({ min: 1, max: 9 }), (items, count_max) => {
      const queue = filled(items)
      const out: { party: string; i: number }[] = []
      while (queue.length > 0) {
        const batch = queue.next(count_max)
        expect(batch.length).toBeGreaterThan(0)
        expect(batch.length).toBeLessThanOrEqual(count_max)
        expect(new Set(batch.map(({ name }) => name)).size).toBe(1)
        out.push(...batch)
      }
      expect(out.map(({ i }) => i).sort((a, b) => a - b)).toEqual(items.map((_, i) => i))
      for (const own of Map.groupBy(out, ({ party }) => party).values())
        expect(own.map(({ i }) => i)).toEqual(own.map(({ i }) => i).sort((a, b) => a - b))
    }),
  )
})

test('a party that has one item is in the next batch, however many another has', () => {
  fc.assert(
    fc.property(fc.integer({ min: 2, max: 200 }), fc.integer({ min: 2, max: 50 }), (many, count_max) => {
      const queue = filled(Array.from({ length: many }, () => ({ party: 'a', name: 'x' })))
      queue.next(1)
      queue.push({ party: 'b', name: 'x', i: -1 })
      expect(queue.next(count_max).map(({ i }) => i)).toContain(-1)
    }),
  )
})

test('what is put back comes before what its party asked since', () => {
  const queue = filled([1, 2, 3, 4].map(() => ({ party: 'a', name: 'x' })))
  const taken = queue.next(2)
  queue.push({ party: 'a', name: 'x', i: 4 })
  queue.putBack(taken)
  expect(queue.length).toBe(5)
  expect(queue.next(9).map(({ i }) => i)).toEqual([0, 1, 2, 3, 4])
})

test('who has the most gives its newest up to who has fewer, and to nobody who has as many', () => {
  const queue = filled(['a', 'a', 'a', 'b'].map((party) => ({ party, name: 'x' })))
  expect(queue.yieldTo('b')?.i).toBe(2)
  expect(queue.yieldTo('b')).toBeNull()
  expect(queue.yieldTo('c')?.i).toBe(1)
  expect(queue.length).toBe(2)
})
