// Byte-pair merging as SentencePiece's bpe_model.cc does it: of all neighbours that may merge, those of the lowest rank
// merge first, the leftmost of equals. A linked list and a heap: n log n, whatever the text.

export interface MergeTable {
  /** When the neighbours text[start, middle) and text[middle, end) merge: 0 = first of all; undefined: never. */
  rankOf(text: string, start: number, middle: number, end: number): number | undefined
  piece_length_max: number // in UTF-16 units
}

/**
 * The pieces of `text`, given where its first symbols start. Symbols in `frozen` (user-defined pieces) never merge.
 * Returns the starts of the merged symbols.
 */
export function mergeSymbols(text: string, starts: number[], frozen: ReadonlySet<number>, table: MergeTable): number[] {
  const count = starts.length
  const previous = Int32Array.from({ length: count }, (_, i) => i - 1)
  const next = Int32Array.from({ length: count }, (_, i) => (i + 1 < count ? i + 1 : -1))
  const pair_rank = new Int32Array(count).fill(-1) // of each symbol with its right neighbour; −1: no piece, or symbol gone
  const heap = new MinHeap(count)

  const endOf = (symbol: number) => (next[symbol]! < 0 ? text.length : starts[next[symbol]!]!)
  const findPair = (left: number) => {
    const right = next[left]!
    pair_rank[left] = -1
    if (right < 0 || frozen.has(left) || frozen.has(right)) return
    const end = endOf(right)
    if (end - starts[left]! > table.piece_length_max) return
    const rank = table.rankOf(text, starts[left]!, starts[right]!, end)
    if (rank === undefined) return
    pair_rank[left] = rank
    heap.push(rank * 2 ** 32 + left)
  }

  for (let symbol = 0; symbol < count; symbol++) findPair(symbol)
  for (let key = heap.pop(); key !== null; key = heap.pop()) {
    const left = key % 2 ** 32
    if (pair_rank[left] !== Math.floor(key / 2 ** 32)) continue // one of the two has merged since
    const right = next[left]!
    next[left] = next[right]!
    if (next[right]! >= 0) previous[next[right]!] = left
    pair_rank[right] = -1
    if (previous[left]! >= 0) findPair(previous[left]!)
    findPair(left)
  }

  const merged: number[] = []
  for (let symbol = count > 0 ? 0 : -1; symbol >= 0; symbol = next[symbol]!) merged.push(starts[symbol]!)
  return merged
}

class MinHeap {
  #keys: Float64Array<ArrayBuffer>
  #size = 0

  constructor(capacity: number) {
    this.#keys = new Float64Array(Math.max(16, capacity))
  }

  push(key: number): void {
    if (this.#size === this.#keys.length) this.#grow()
    const keys = this.#keys
    let at = this.#size++
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (keys[parent]! <= key) break
      keys[at] = keys[parent]!
      at = parent
    }
    keys[at] = key
  }

  pop(): number | null {
    if (this.#size === 0) return null
    const keys = this.#keys
    const top = keys[0]!
    const key = keys[--this.#size]!
    let at = 0
    for (let child = 1; child < this.#size; child = 2 * at + 1) {
      if (child + 1 < this.#size && keys[child + 1]! < keys[child]!) child++
      if (keys[child]! >= key) break
      keys[at] = keys[child]!
      at = child
    }
    keys[at] = key
    return top
  }

  #grow(): void {
    const keys = new Float64Array(this.#keys.length * 2)
    keys.set(this.#keys)
    this.#keys = keys
  }
}
