// Owns which KV blocks are free. All of them exist from the start; a block has one owner or none.

import assert from 'node:assert/strict'

export const BLOCK_TOKENS = 16

/** Blocks that hold the KV of so many tokens. */
export function blocksFor(tokens: number): number {
  return Math.ceil(tokens / BLOCK_TOKENS)
}

export class BlockPool {
  readonly total: number
  readonly #free: number[]
  readonly #is_free: Uint8Array

  constructor(total: number) {
    this.total = total
    this.#free = Array.from({ length: total }, (_, i) => total - 1 - i)
    this.#is_free = new Uint8Array(total).fill(1)
  }

  get free(): number {
    return this.#free.length
  }

  take(): number {
    const block = this.#free.pop()
    assert(block !== undefined, 'a block was taken from an empty pool')
    this.#is_free[block] = 0
    return block
  }

  giveBack(blocks: readonly number[]): void {
    for (const block of blocks) {
      assert(this.#is_free[block] === 0, `block ${block} was given back twice`)
      this.#is_free[block] = 1
      this.#free.push(block)
    }
  }
}
