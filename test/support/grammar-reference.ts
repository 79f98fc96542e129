// The native grammar's programs, followed in the plainest way: sets of (node, stack), with no table and nothing remembered.

interface Node {
  is_final: boolean
  targets: Map<number, number> // by byte class
  calls: { start: number; returns_to: number }[]
}

type Stack = { node: number; parent: Stack } | null

export interface ReferenceState {
  configs: { node: number; stack: Stack }[]
  accepts: boolean
}

export class ReferenceGrammar {
  readonly #class_of: number[]
  readonly #nodes: Node[] = []
  readonly start: ReferenceState

  constructor(program: Int32Array) {
    let at = 0
    const next = () => program[at++]!
    next()
    const count = next()
    const start = next()
    this.#class_of = Array.from({ length: 256 }, next)
    for (let i = 0; i < count; i++) {
      const is_final = next() === 1
      const [edges, calls] = [next(), next()]
      const targets = new Map(Array.from({ length: edges }, () => [next(), next()] as const))
      this.#nodes.push({
        is_final,
        targets,
        calls: Array.from({ length: calls }, () => ({ start: next(), returns_to: next() })),
      })
    }
    this.start = this.#close([{ node: start, stack: null }])
  }

  step(state: ReferenceState, byte: number): ReferenceState {
    const moved = state.configs.flatMap(({ node, stack }) => {
      const target = this.#nodes[node]!.targets.get(this.#class_of[byte]!)
      return target === undefined ? [] : [{ node: target, stack }]
    })
    return this.#close(moved)
  }

  read(text: string | Uint8Array): ReferenceState {
    return [...Buffer.from(text)].reduce((state, byte) => this.step(state, byte), this.start)
  }

  accepts(text: string | Uint8Array): boolean {
    return this.read(text).accepts
  }

  isAlive({ configs, accepts }: ReferenceState): boolean {
    return configs.length > 0 || accepts
  }

  #close(seeds: ReferenceState['configs']): ReferenceState {
    const seen = new Set<string>()
    const open: ReferenceState['configs'] = []
    const reach = (node: number, stack: Stack) => {
      const key = `${node}|${spell(stack)}`
      if (seen.has(key)) return
      seen.add(key)
      open.push({ node, stack })
    }
    for (const { node, stack } of seeds) reach(node, stack)
    let accepts = false
    for (const { node, stack } of open) {
      for (const { start, returns_to } of this.#nodes[node]!.calls) reach(start, this.#push(returns_to, stack))
      if (!this.#nodes[node]!.is_final) continue
      if (stack === null) accepts = true
      else reach(stack.node, stack.parent)
    }
    return { configs: open.filter(({ node }) => this.#nodes[node]!.targets.size > 0), accepts }
  }

  // Else a grammar that is nested on the right would need more and more of them.
  #push(node: number, parent: Stack): Stack {
    const { is_final, targets, calls } = this.#nodes[node]!
    return is_final && targets.size === 0 && calls.length === 0 ? parent : { node, parent }
  }
}

function spell(stack: Stack): string {
  return stack === null ? '' : `${stack.node},${spell(stack.parent)}`
}
