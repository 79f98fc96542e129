// Which blocks hold the KV of which beginnings: a tree of full blocks, a root for each salt, so that no account can find (or
// time) what another has asked. A block is reached only through the very token ids before it and in it: ids are compared,
// not hashes of them.
//
// A block in use is held by every sequence whose path leads through it, so a block nobody uses has no user below it either.
// A path is released from its end, so in the list of the unused whatever lies below a block is older: the oldest is
// always a leaf, and evicting it scans nothing.

import assert from 'node:assert/strict'

interface Branch {
  readonly children: Map<string, CachedBlock>
}

interface Root extends Branch {
  readonly salt: string
}

export interface CachedBlock extends Branch {
  readonly parent: CachedBlock | Root
  readonly tokens: string // the ids it holds, written out
  readonly block: number
  users: number
  // These are its neighbours among the unused.
  older: CachedBlock | null
  newer: CachedBlock | null
}

export class PrefixCache {
  readonly #roots = new Map<string, Root>()
  #size = 0
  #unused = 0
  #oldest: CachedBlock | null = null
  #newest: CachedBlock | null = null

  /** Blocks in the tree. */
  get size(): number {
    return this.#size
  }

  /** Blocks in the tree that no sequence uses: each can be evicted. */
  get unused(): number {
    return this.#unused
  }

  /** The longest known path along these blocks, which stays unused until `use`. */
  find(salt: string, blocks: Iterable<string>): CachedBlock[] {
    const path: CachedBlock[] = []
    let branch: Branch | undefined = this.#roots.get(salt)
    for (const tokens of blocks) {
      const child: CachedBlock | undefined = branch?.children.get(tokens)
      if (!child) break
      path.push(child)
      branch = child
    }
    return path
  }

  use(path: readonly CachedBlock[]): void {
    for (const cached of path) if (cached.users++ === 0) this.#unlink(cached)
  }

  /**
   * A full block behind `parent` (none: at the root), used by the caller from now on. Where the tree has one with these
   * tokens already, that one is the answer, and the caller's own block stays the caller's.
   */
  add(
    salt: string,
    parent: CachedBlock | undefined,
    { tokens, block }: { tokens: string; block: number },
  ): CachedBlock {
    const branch = parent ?? this.#root(salt)
    const known = branch.children.get(tokens)
    if (known) {
      this.use([known])
      return known
    }
    const added = {
      parent: branch,
      tokens,
      block,
      children: new Map(),
      users: 1,
      older: null,
      newer: null,
    } as CachedBlock
    branch.children.set(tokens, added)
    this.#size++
    return added
  }

  /** Gives up the use of a whole path. Its blocks stay until they are evicted. */
  release(path: readonly CachedBlock[]): void {
    for (const cached of path.toReversed()) {
      assert(cached.users > 0, 'only what is used is released')
      if (--cached.users === 0) this.#append(cached)
    }
  }

  /** Forgets the block that was unused for longest; it is the caller's again. */
  evict(): number {
    const oldest = this.#oldest
    assert(oldest && oldest.children.size === 0, 'the oldest of the unused is a leaf')
    this.#unlink(oldest)
    this.#remove(oldest)
    return oldest.block
  }

  /**
   * Forgets the end of a path that its caller uses, as far as nobody else has it or goes on from it; those blocks are the caller's again.
   * Returns how many of its beginning are left.
   */
  forget(path: readonly CachedBlock[]): number {
    let left = path.length
    for (; left > 0; left--) {
      const cached = path[left - 1]!
      if (cached.users > 1 || cached.children.size > 0) break
      this.#remove(cached)
    }
    return left
  }

  #remove({ parent, tokens }: CachedBlock): void {
    this.#size--
    parent.children.delete(tokens)
    if ('salt' in parent && parent.children.size === 0) this.#roots.delete(parent.salt)
  }

  #root(salt: string): Root {
    const root = this.#roots.get(salt) ?? { salt, children: new Map() }
    this.#roots.set(salt, root)
    return root
  }

  #append(cached: CachedBlock): void {
    cached.older = this.#newest
    if (this.#newest) this.#newest.newer = cached
    else this.#oldest = cached
    this.#newest = cached
    this.#unused++
  }

  #unlink(cached: CachedBlock): void {
    if (cached.older) cached.older.newer = cached.newer
    else this.#oldest = cached.newer
    if (cached.newer) cached.newer.older = cached.older
    else this.#newest = cached.older
    cached.older = null
    cached.newer = null
    this.#unused--
  }
}
