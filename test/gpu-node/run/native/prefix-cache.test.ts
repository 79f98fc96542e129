import { describe, expect, test } from 'vitest'
import { type CachedBlock, PrefixCache } from '../../../../gpu-node/run/native/prefix-cache.ts'
import { seededRandom } from '../../../support/random.ts'

/** Adds a path of blocks; the caller uses all of it. */
function add(cache: PrefixCache, tokens: string[], blocks: number[], salt = ''): CachedBlock[] {
  const path: CachedBlock[] = []
  for (const [i, text] of tokens.entries()) path.push(cache.add(salt, path.at(-1), { tokens: text, block: blocks[i]! }))
  return path
}

const blocksOf = (path: CachedBlock[]) => path.map(({ block }) => block)

describe('a path', () => {
  test('is found as far as its tokens are the same', () => {
    const cache = new PrefixCache()
    add(cache, ['a', 'b', 'c'], [1, 2, 3])
    add(cache, ['a', 'x'], [9, 4])
    expect(blocksOf(cache.find('', ['a', 'b', 'c', 'd']))).toEqual([1, 2, 3])
    expect(blocksOf(cache.find('', ['a', 'x', 'c']))).toEqual([1, 4])
    expect(cache.find('', ['b', 'c'])).toEqual([])
  })

  test('is found under its own salt only', () => {
    const cache = new PrefixCache()
    add(cache, ['a'], [1], 'one')
    expect(cache.find('another', ['a'])).toEqual([])
    expect(blocksOf(add(cache, ['a'], [2], 'another'))).toEqual([2])
  })

  test('that is known already keeps its blocks', () => {
    const cache = new PrefixCache()
    add(cache, ['a', 'b'], [1, 2])
    expect(blocksOf(add(cache, ['a', 'b'], [3, 4]))).toEqual([1, 2])
    expect(cache.size).toBe(2)
  })
})

describe('eviction', () => {
  test('takes what was unused for longest, its end before its beginning', () => {
    const cache = new PrefixCache()
    const first = add(cache, ['a', 'b'], [1, 2])
    const second = add(cache, ['c', 'd'], [3, 4])
    cache.release(second)
    cache.release(first)
    cache.use(cache.find('', ['c', 'd']))
    cache.release(second)
    expect([cache.evict(), cache.evict(), cache.evict(), cache.evict()]).toEqual([2, 1, 4, 3])
    expect([cache.size, cache.unused]).toEqual([0, 0])
  })

  test('spares what anyone uses', () => {
    const cache = new PrefixCache()
    const path = add(cache, ['a', 'b'], [1, 2])
    cache.use(path.slice(0, 1))
    cache.release(path)
    expect([cache.unused, cache.evict()]).toEqual([1, 2])
    expect(() => cache.evict()).toThrow('the oldest of the unused')
  })

  test('of the last block of an account leaves nothing of it', () => {
    const cache = new PrefixCache()
    cache.release(add(cache, ['a'], [1], 'one'))
    cache.evict()
    expect(cache.find('one', ['a'])).toEqual([])
  })

  test('releasing what is not used is a broken invariant', () => {
    const cache = new PrefixCache()
    const path = add(cache, ['a'], [1])
    cache.release(path)
    expect(() => cache.release(path)).toThrow('only what is used')
  })
})

test('random histories agree with a cache that scans everything', () => {
  const random = seededRandom()
  const cache = new PrefixCache()
  const last_used = new Map<string, number>() // path as text to when it was released
  const users = new Map<string, number>()
  const live: { path: CachedBlock[]; names: string[] }[] = []
  let clock = 0
  let block = 0
  const evicts = () => {
    const unused = [...last_used.keys()].filter((name) => !users.get(name))
    const leaves = unused.filter((name) => ![...last_used.keys()].some((other) => other.startsWith(`${name}/`)))
    return leaves.sort((a, b) => last_used.get(a)! - last_used.get(b)!)[0]
  }
  const blocks_of = new Map<string, number>()
  for (let i = 0; i < 3000; i++) {
    const choice = random.below(10)
    if (choice < 4) {
      const tokens = Array.from({ length: 1 + random.below(5) }, () => random.pick(['a', 'b', 'c']))
      const names = tokens.map((_, k) => tokens.slice(0, k + 1).join('/'))
      const path = add(
        cache,
        tokens,
        tokens.map(() => block++),
      )
      for (const [k, name] of names.entries()) {
        if (last_used.has(name)) expect(path[k]!.block).toBe(blocks_of.get(name))
        blocks_of.set(name, path[k]!.block)
        users.set(name, (users.get(name) ?? 0) + 1)
        last_used.set(name, Number.POSITIVE_INFINITY)
      }
      live.push({ path, names })
    } else if (choice < 8 && live.length > 0) {
      const [{ path, names }] = live.splice(random.below(live.length), 1) as [(typeof live)[0]]
      cache.release(path)
      for (const name of names.toReversed()) {
        users.set(name, users.get(name)! - 1)
        if (users.get(name) === 0) last_used.set(name, clock++)
      }
    } else if (cache.unused > 0) {
      const expected = evicts()!
      expect(cache.evict()).toBe(blocks_of.get(expected))
      last_used.delete(expected)
    }
    expect(cache.size).toBe(last_used.size)
    expect(cache.unused).toBe([...last_used.keys()].filter((name) => !users.get(name)).length)
  }
})
