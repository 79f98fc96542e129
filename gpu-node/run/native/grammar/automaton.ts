// Deterministic automata over bytes and calls of rules, made from expressions by way of those that are not deterministic.

import type { Expr } from './expr.ts'
import { ExcessError } from './grammar-error.ts'

export interface Edge {
  low: number
  high: number
  target: number
}

export interface Call {
  rule: string
  target: number
}

export interface State {
  is_final: boolean
  bytes: Edge[] // sorted; no byte is in two
  calls: Call[]
}

/** The first state is where it starts. */
export type Automaton = readonly State[]

const STATES_MAX = 200_000
const WORK_MAX = 2_000_000

/** Counts what a compilation does, over all of it, so that none takes long; with a share of what is allowed at most. */
export class Budget {
  #states: number
  #work: number

  constructor(share = 1) {
    this.#states = STATES_MAX * share
    this.#work = WORK_MAX * share
  }

  states(count: number): void {
    this.#states -= count
    if (this.#states < 0) throw new ExcessError('It is too large: it needs too many states.')
  }

  work(count: number): void {
    this.#work -= count
    if (this.#work < 0) throw new ExcessError('It is too complex: it would take too long to prepare.')
  }
}

/** Thompson's construction: each part begins in a state that is given, and no edge leads back into that. */
class Builder {
  readonly moves: number[][] = [] // without a byte
  readonly bytes: Edge[][] = []
  readonly calls: Call[][] = []
  readonly at_start: number[][] = [] // without a byte, where nothing has been read
  readonly at_end: number[][] = []
  readonly #budget: Budget

  constructor(budget: Budget) {
    this.#budget = budget
  }

  state(): number {
    this.#budget.states(1)
    for (const list of [this.moves, this.bytes, this.calls, this.at_start, this.at_end]) list.push([])
    return this.moves.length - 1
  }

  /** Returns the state in which the part ends. */
  add(expr: Expr, from: number): number {
    switch (expr.kind) {
      case 'span':
        return this.#to((to) => this.bytes[from]!.push({ low: expr.low, high: expr.high, target: to }))
      case 'rule':
        return this.#to((to) => this.calls[from]!.push({ rule: expr.name, target: to }))
      case 'assertion':
        return this.#to((to) => this[expr.at === 'start' ? 'at_start' : 'at_end'][from]!.push(to))
      case 'seq':
        return expr.items.reduce((at, item) => this.add(item, at), from)
      case 'alt':
        return this.#to((to) => {
          for (const item of expr.items) this.moves[this.add(item, from)]!.push(to)
        })
      case 'repeat':
        return this.#repeat(expr.item, expr.min, expr.max, from)
      case 'automaton':
        return this.#embed(expr.automaton, from)
    }
  }

  #to(lead: (to: number) => void): number {
    const to = this.state()
    lead(to)
    return to
  }

  // Each that may be left out leads to the end by itself, so that no state reaches more than two others without a byte.
  #repeat(item: Expr, min: number, max: number | null, from: number): number {
    const end = this.state()
    let at = from
    for (let i = 0; i < min; i++) at = this.add(item, at)
    if (max === null) {
      const loop = this.state()
      this.moves[at]!.push(loop)
      this.moves[this.add(item, loop)]!.push(loop)
      at = loop
    }
    for (let i = min; i < (max ?? 0); i++) {
      this.moves[at]!.push(end)
      at = this.add(item, at)
    }
    this.moves[at]!.push(end)
    return end
  }

  #embed(automaton: Automaton, from: number): number {
    const first = this.moves.length
    for (const _ of automaton) this.state()
    this.moves[from]!.push(first)
    const to = this.state()
    for (const [i, { is_final, bytes, calls }] of automaton.entries()) {
      this.bytes[first + i] = bytes.map((edge) => ({ ...edge, target: first + edge.target }))
      this.calls[first + i] = calls.map((call) => ({ ...call, target: first + call.target }))
      if (is_final) this.moves[first + i]!.push(to)
    }
    return to
  }
}

/** The automaton of an expression. Assertions are of the whole text that it reads. */
export function automatonOf(expr: Expr, budget: Budget): Automaton {
  const builder = new Builder(budget)
  const from = builder.state()
  return determinize(builder, from, builder.add(expr, from), budget)
}

function determinize(builder: Builder, from: number, to: number, budget: Budget): Automaton {
  const states: State[] = []
  const sets: number[][] = []
  const ids = new Map<string, number>()
  const closure = closureIn(builder)
  const idOf = (seeds: readonly number[], is_start = false) => {
    const set = closure(seeds, is_start ? [builder.at_start] : [])
    budget.work(set.length)
    const key = (is_start ? '^' : '') + set.join()
    const known = ids.get(key)
    if (known !== undefined) return known
    budget.states(1)
    ids.set(key, sets.length)
    sets.push(set)
    const ends = closure(set, is_start ? [builder.at_start, builder.at_end] : [builder.at_end])
    states.push({ is_final: ends.includes(to), bytes: [], calls: [] })
    return sets.length - 1
  }
  idOf([from], true)
  for (let i = 0; i < sets.length; i++) {
    const edges = sets[i]!.flatMap((state) => builder.bytes[state]!)
    const calls = Map.groupBy(
      sets[i]!.flatMap((state) => builder.calls[state]!),
      ({ rule }) => rule,
    )
    budget.work(edges.length)
    states[i]!.bytes = sweep(edges, idOf)
    states[i]!.calls = [...calls].map(([rule, same]) => ({ rule, target: idOf(same.map(({ target }) => target)) }))
  }
  return states
}

/** Finds the states that are reached without a byte, in order; by the moves, and by more of them. */
function closureIn(builder: Builder) {
  const seen_in = new Int32Array(builder.moves.length)
  let call = 0
  return (seeds: readonly number[], more: readonly number[][][]): number[] => {
    call++
    const reached: number[] = []
    const reach = (state: number) => {
      if (seen_in[state] === call) return
      seen_in[state] = call
      reached.push(state)
    }
    seeds.forEach(reach)
    for (let i = 0; i < reached.length; i++) {
      builder.moves[reached[i]!]!.forEach(reach)
      for (const moves of more) moves[reached[i]!]!.forEach(reach)
    }
    return reached.sort((a, b) => a - b)
  }
}

/** Edges that may overlap, as ones that do not. */
function sweep(edges: readonly Edge[], idOf: (targets: readonly number[]) => number): Edge[] {
  const points = [...new Set(edges.flatMap(({ low, high }) => [low, high + 1]))].sort((a, b) => a - b)
  const targets: number[][] = points.map(() => [])
  const place = new Map(points.map((point, i) => [point, i]))
  for (const { low, high, target } of edges)
    for (let i = place.get(low)!; points[i]! <= high; i++) targets[i]!.push(target)
  const swept: Edge[] = []
  for (const [i, own] of targets.entries()) {
    if (own.length === 0) continue
    const edge = { low: points[i]!, high: points[i + 1]! - 1, target: idOf(own) }
    const last = swept.at(-1)
    if (last && last.high + 1 === edge.low && last.target === edge.target) last.high = edge.high
    else swept.push(edge)
  }
  return swept
}

/** What both read; or, of two without calls, what the first reads and the second does not. */
export function product(a: Automaton, b: Automaton, how: 'both' | 'first only', budget: Budget): Automaton {
  const pairs: [number, number | null][] = [[0, 0]]
  const ids = new Map([['0,0', 0]])
  const states: State[] = []
  const idOf = (i: number, k: number | null) => {
    const key = `${i},${k}`
    if (!ids.has(key)) {
      budget.states(1)
      ids.set(key, pairs.length)
      pairs.push([i, k])
    }
    return ids.get(key)!
  }
  for (let at = 0; at < pairs.length; at++) {
    const [i, k] = pairs[at]!
    const other = k === null ? null : b[k]!
    const is_final = a[i]!.is_final && (how === 'both' ? other!.is_final : !other?.is_final)
    const bytes = overlay(a[i]!.bytes, other?.bytes ?? [])
      .filter(({ right }) => how === 'first only' || right !== null)
      .map(({ low, high, left, right }) => ({ low, high, target: idOf(left, right) }))
    budget.work(bytes.length)
    states.push({ is_final, bytes, calls: [] })
  }
  return trimmed(states)
}

function overlay(a: readonly Edge[], b: readonly Edge[]) {
  const parts: { low: number; high: number; left: number; right: number | null }[] = []
  for (const { low, high, target: left } of a) {
    let next = low
    for (const edge of b) {
      if (edge.high < low || edge.low > high) continue
      if (edge.low > next) parts.push({ low: next, high: edge.low - 1, left, right: null })
      parts.push({ low: Math.max(low, edge.low), high: Math.min(high, edge.high), left, right: edge.target })
      next = edge.high + 1
    }
    if (next <= high) parts.push({ low: next, high, left, right: null })
  }
  return parts
}

const REFINEMENTS_MAX = 40

/** As few states as do the same, where that is soon found. */
export function minimized(automaton: Automaton): Automaton {
  let classes = automaton.map(({ is_final }) => Number(is_final))
  for (let round = 0; round < REFINEMENTS_MAX; round++) {
    const ids = new Map<string, number>()
    const refined = automaton.map(({ bytes, calls }, i) => {
      const edges = bytes.map(({ low, high, target }) => `${low}-${high}:${classes[target]}`)
      const key = [classes[i], ...edges, ...calls.map(({ rule, target }) => `${rule}:${classes[target]}`)].join()
      if (!ids.has(key)) ids.set(key, ids.size)
      return ids.get(key)!
    })
    if (ids.size === new Set(classes).size) return merged(automaton, refined, ids.size)
    classes = refined
  }
  return automaton
}

// The class of the first state is 0, because it is seen first.
function merged(automaton: Automaton, classes: readonly number[], count: number): Automaton {
  return Array.from({ length: count }, (_, one) => {
    const { is_final, bytes, calls } = automaton[classes.indexOf(one)]!
    return {
      is_final,
      bytes: bytes.map((edge) => ({ ...edge, target: classes[edge.target]! })),
      calls: calls.map((call) => ({ ...call, target: classes[call.target]! })),
    }
  })
}

/** Without what leads to no end; `isDone` says of a called rule whether it may end. The first state stays. */
export function trimmed(automaton: Automaton, isDone: (rule: string) => boolean = () => true): Automaton {
  const useful = endingStates(automaton, isDone)
  const kept = [...automaton.keys()].filter((i) => i === 0 || useful.has(i))
  const place = new Map(kept.map((i, at) => [i, at]))
  return kept.map((i) => {
    const { is_final, bytes, calls } = automaton[i]!
    return {
      is_final,
      bytes: bytes
        .filter(({ target }) => useful.has(target))
        .map((edge) => ({ ...edge, target: place.get(edge.target)! })),
      calls: calls
        .filter(({ rule, target }) => useful.has(target) && isDone(rule))
        .map((call) => ({ ...call, target: place.get(call.target)! })),
    }
  })
}

/** The states from which an end can be reached. */
export function endingStates(automaton: Automaton, isDone: (rule: string) => boolean): Set<number> {
  const before: number[][] = automaton.map(() => [])
  for (const [i, { bytes, calls }] of automaton.entries()) {
    for (const { target } of bytes) before[target]!.push(i)
    for (const { rule, target } of calls) if (isDone(rule)) before[target]!.push(i)
  }
  const ending = new Set([...automaton.keys()].filter((i) => automaton[i]!.is_final))
  for (const i of ending) for (const previous of before[i]!) ending.add(previous)
  return ending
}

/** Whether it reads these bytes; for one without calls. */
export function reads(automaton: Automaton, bytes: Uint8Array): boolean {
  let at: State | undefined = automaton[0]
  for (const byte of bytes) {
    const edge: Edge | undefined = at?.bytes.find(({ low, high }) => low <= byte && byte <= high)
    at = edge && automaton[edge.target]
  }
  return at?.is_final ?? false
}
