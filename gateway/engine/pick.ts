// Which node takes a request. What is known of their load is up to a second old; the better of two at random spreads a burst
// that "the least loaded" would send to one.

export interface Load {
  id: string
  running: number
  waiting: number
}

export function pickNode<N extends Load>(nodes: N[], random: () => number = Math.random): N | null {
  const first = nodes[Math.floor(random() * nodes.length)]
  const second = nodes[Math.floor(random() * nodes.length)]
  if (!first || !second) return null
  return load(second) < load(first) ? second : first
}

function load({ running, waiting }: Load): number {
  return running + waiting
}
