// Who holds which KV blocks. A running sequence shares the leading ones with the prefix cache and owns those behind them; what
// nobody holds is free, or kept by the cache until it is wanted: free + cached + held = total.

import assert from 'node:assert/strict'
import { BLOCK_TOKENS, BlockPool, blocksFor } from './block-pool.ts'
import { type CachedBlock, PrefixCache } from './prefix-cache.ts'
import type { Sequence } from './sequence.ts'

export class KvMemory {
  readonly #pool: BlockPool
  readonly #cache = new PrefixCache()

  constructor(blocks: number) {
    this.#pool = new BlockPool(blocks)
  }

  get blocks_total(): number {
    return this.#pool.total
  }

  /** Blocks that can be taken: free ones, and cached ones that nobody uses. */
  get blocks_free(): number {
    return this.#pool.free + this.#cache.unused
  }

  get blocks_cached(): number {
    return this.#cache.size
  }

  /** The cached blocks that a sequence may begin with. They stay unused until it comes in. */
  find(sequence: Sequence): CachedBlock[] {
    return this.#cache.find(sequence.cache_salt, sequence.blockTokens(sequence.sharable_blocks))
  }

  /** Blocks that would be left, were these used. */
  freeBeside(path: readonly CachedBlock[]): number {
    return this.blocks_free - path.filter(({ users }) => users === 0).length
  }

  /** A sequence comes in with the cached blocks that were found for it. */
  comeIn(sequence: Sequence, path: CachedBlock[]): void {
    this.#cache.use(path)
    sequence.beginWith(path)
  }

  /** Gives it blocks until so many tokens fit. The caller has seen that there are enough. */
  grow(sequence: Sequence, tokens: number): void {
    while (sequence.blocks.length < blocksFor(tokens)) sequence.blocks.push(this.#take())
  }

  // This happens at once, not when the sequence finishes: whoever comes meanwhile with the same beginning finds it. Two that
  // computed the same side by side have the same bytes, so the second takes the first's block and gives up its own.
  cacheFullBlocks(sequence: Sequence): void {
    const { path, blocks, cache_salt } = sequence
    for (let i = path.length; i < Math.floor(sequence.computed / BLOCK_TOKENS); i++) {
      const own = { tokens: sequence.blockTokensAt(i), block: blocks[i]! }
      const cached = this.#cache.add(cache_salt, path.at(-1), own)
      if (cached.block !== own.block) this.#pool.giveBack([own.block])
      blocks[i] = cached.block
      path.push(cached)
    }
  }

  /** Takes its blocks back. A step in flight may still use them: the engine runs steps in order, and a new owner comes later. */
  leave(sequence: Sequence): void {
    this.#pool.giveBack(sequence.blocks.slice(sequence.path.length))
    this.#cache.release(sequence.path)
    sequence.blocks = []
    sequence.path = []
  }

  /** The cache keeps nothing of a sequence but what others use, too. Its blocks are its own again until it leaves. */
  forget(sequence: Sequence): void {
    sequence.path = sequence.path.slice(0, this.#cache.forget(sequence.path))
  }

  assertAddsUp(running: readonly Sequence[]): void {
    const held = running.reduce((sum, { blocks, path }) => sum + blocks.length - path.length, 0)
    assert.equal(this.#pool.free + this.#cache.size + held, this.#pool.total, 'free + cached + held = total')
  }

  #take(): number {
    if (this.#pool.free === 0) this.#pool.giveBack([this.#cache.evict()])
    return this.#pool.take()
  }
}
