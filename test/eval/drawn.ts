// So many of a list, drawn with the seed that is printed.

import { seededRandom } from '../support/random.ts'

export function sampled<T>(items: readonly T[], count: number): T[] {
  const random = seededRandom()
  const rest = [...items]
  return Array.from({ length: Math.min(count, rest.length) }, () => rest.splice(random.below(rest.length), 1)[0]!)
}
