// Nodes of a program that look alike as far as one token reaches: the same bytes may come from them. A string of 300 to 900 characters
// has a node for every count, and all but the last few look alike, so that one mask serves them all (native/grammar/grammar.h).

/** So far they are looked at: longer than a piece of SentencePiece is. A vocabulary with longer tokens gets a mask for each node. */
export const ALIKE_BYTES = 32

const HEADER = 3
const CLASSES = 256

/** For each node of a program (its words but these) the first that looks like it. */
export function alikeNodes(words: Int32Array): Int32Array {
  const program = new Program(words)
  const order = program.calledFirst()
  let looked: Looked = { alike: new Int32Array(program.count), kinds: 1 } // before a byte is read
  for (let bytes = 0; bytes < ALIKE_BYTES; bytes++) {
    const further = lookedFurther(program, order, looked.alike)
    if (further.kinds === looked.kinds) break // what looks alike so far looks alike for ever
    looked = further
  }
  return looked.alike
}

interface Looked {
  alike: Int32Array
  kinds: number
}

/** One byte more, from what its edges lead to. What it calls is looked at before it, and as far. */
function lookedFurther(program: Program, order: Order, before: Int32Array): Looked {
  const alike = new Int32Array(program.count)
  const known = new Int32Array(1 << Math.ceil(Math.log2(2 * program.count + 1))).fill(-1)
  let kinds = 0
  for (const node of order.nodes) {
    if (order.circular.has(node)) {
      alike[node] = node
      kinds++
      continue
    }
    let place = program.hash(node, before, alike) & (known.length - 1)
    while (known[place] !== -1 && !program.looksLike(known[place]!, node, before, alike))
      place = (place + 1) & (known.length - 1)
    if (known[place] === -1) {
      known[place] = node
      kinds++
    }
    alike[node] = known[place]!
  }
  return { alike, kinds }
}

interface Order {
  nodes: number[]
  circular: ReadonlySet<number> // what calls itself again before a byte; taken as like no other
}

class Program {
  readonly count: number
  readonly #words: Int32Array
  readonly #begins: Int32Array

  constructor(words: Int32Array) {
    this.#words = words
    this.count = words[1]!
    this.#begins = new Int32Array(this.count)
    let at = HEADER + CLASSES
    for (let node = 0; node < this.count; node++) {
      this.#begins[node] = at
      at += 3 + 2 * (words[at + 1]! + words[at + 2]!)
    }
  }

  calledFirst(): Order {
    const state = new Uint8Array(this.count) // 1 begun, 2 done
    const circular = new Set<number>()
    const nodes: number[] = []
    const open: number[] = []
    for (let root = 0; root < this.count; root++) {
      open.push(root)
      while (open.length > 0) {
        const node = open.at(-1)!
        if (state[node] === 0) {
          state[node] = 1
          for (const called of this.#calledBy(node)) {
            if (state[called] === 0) open.push(called)
            if (state[called] === 1) circular.add(called)
          }
          continue
        }
        open.pop()
        if (state[node] === 1) nodes.push(node)
        state[node] = 2
      }
    }
    return { nodes, circular }
  }

  hash(node: number, before: Int32Array, now: Int32Array): number {
    let hash = 0
    for (let i = 0; i < this.#length(node); i++)
      hash = Math.imul(hash ^ (hash >>> 15) ^ this.#seen(node, i, before, now), 0x9e3779b1)
    return hash ^ (hash >>> 15)
  }

  looksLike(one: number, other: number, before: Int32Array, now: Int32Array): boolean {
    for (let i = 0; i < this.#length(one); i++)
      if (this.#seen(one, i, before, now) !== this.#seen(other, i, before, now)) return false
    return true
  }

  /** A word of a node, what it leads to as that looks. The first three tell how many there are. */
  #seen(node: number, i: number, before: Int32Array, now: Int32Array): number {
    const begin = this.#begins[node]!
    const word = this.#words[begin + i]!
    if (i < 3) return word
    if (i >= 3 + 2 * this.#words[begin + 1]!) return now[word]!
    return i % 2 === 1 ? word : before[word]!
  }

  #length(node: number): number {
    const begin = this.#begins[node]!
    return 3 + 2 * (this.#words[begin + 1]! + this.#words[begin + 2]!)
  }

  *#calledBy(node: number): Iterable<number> {
    const begin = this.#begins[node]!
    for (let i = 3 + 2 * this.#words[begin + 1]!; i < this.#length(node); i++) yield this.#words[begin + i]!
  }
}
