import { expect, test } from 'vitest'
import { BlockPool, blocksFor } from '../../../../gpu-node/run/native/block-pool.ts'

test('a block begins with every sixteenth token', () => {
  expect([0, 1, 16, 17, 32].map(blocksFor)).toEqual([0, 1, 1, 2, 2])
})

test('every block is taken once, and can be taken again when given back', () => {
  const pool = new BlockPool(3)
  const taken = [pool.take(), pool.take(), pool.take()]
  expect([...taken].sort()).toEqual([0, 1, 2])
  expect(pool.free).toBe(0)
  expect(() => pool.take()).toThrow('empty pool')
  pool.giveBack([taken[1]!])
  expect(pool.take()).toBe(taken[1])
})

test('giving a block back twice is a broken invariant', () => {
  const pool = new BlockPool(2)
  const block = pool.take()
  pool.giveBack([block])
  expect(() => pool.giveBack([block])).toThrow('twice')
})
