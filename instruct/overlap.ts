// What two texts have in common, by runs of words: to leave out what says the same as another item, or as a problem of a benchmark. Exact,
// by an index of runs, which for the tens of thousands of items that a recipe makes is as fast as an estimate.

export const RUN_ALIKE = 3 // words
export const RUN_LEAKED = 10
export const ALIKE_MIN = 0.7 // of both texts' runs

export function wordsOf(text: string): string[] {
  return text.toLowerCase().match(/[\p{Script=Han}]|[\p{L}\p{N}_]+/gu) ?? []
}

export function runsOf(text: string, length: number): Set<string> {
  const words = wordsOf(text)
  if (words.length <= length) return new Set([words.join(' ')])
  return new Set(Array.from({ length: words.length - length + 1 }, (_, i) => words.slice(i, i + length).join(' ')))
}

/** Texts by their runs; the name of the first that is alike, or null. */
export class AlikeIndex {
  readonly #by_run = new Map<string, number[]>()
  readonly #texts: { name: string; runs: number }[] = []

  add(name: string, text: string): void {
    const runs = runsOf(text, RUN_ALIKE)
    const at = this.#texts.push({ name, runs: runs.size }) - 1
    for (const run of runs) {
      const known = this.#by_run.get(run)
      if (known) known.push(at)
      else this.#by_run.set(run, [at])
    }
  }

  find(text: string): string | null {
    const runs = runsOf(text, RUN_ALIKE)
    const shared = new Map<number, number>()
    for (const run of runs) for (const at of this.#by_run.get(run) ?? []) shared.set(at, (shared.get(at) ?? 0) + 1)
    for (const [at, count] of shared) {
      const other = this.#texts[at]!
      if (count / (runs.size + other.runs - count) >= ALIKE_MIN) return other.name
    }
    return null
  }
}

/** Problems of a benchmark; the name of one of which a text has a long run, or null. */
export class LeakIndex {
  readonly #by_run = new Map<string, string>()

  add(name: string, text: string): void {
    for (const run of runsOf(text, RUN_LEAKED)) if (run !== '') this.#by_run.set(run, name)
  }

  find(text: string): string | null {
    for (const run of runsOf(text, RUN_LEAKED)) {
      const name = this.#by_run.get(run)
      if (name !== undefined) return name
    }
    return null
  }
}
