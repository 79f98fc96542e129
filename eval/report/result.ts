// What a run found, as `--json` prints it and results.json keeps it.

import type { Judged } from '../run.ts'
import { interval, passAtK } from '../score.ts'
import type { Suite } from '../suite/suite.ts'

export interface Result {
  suite: string
  file: string
  sha256: string
  model: string
  recipe: string | null
  sampling: object | null
  preamble: boolean
  sandbox: string
  finished_at: string
  /** Of samples, which are problems where each has one. */
  passed: number
  total: number
  interval_95: [number, number]
  pass_at_k: Record<string, number>
  tokens_in: number
  tokens_out: number
  results: Record<string, ProblemResult>
}

export interface ProblemResult {
  passed: boolean
  failure: string | null
  /** Where a problem has more than one. */
  samples?: { passed: boolean; failure: string | null }[]
}

type Known = Pick<Result, 'model' | 'recipe' | 'sampling' | 'preamble' | 'sandbox'>

export function resultOf(suite: Suite, judged: Judged[], ks: number[], known: Known): Result {
  const by_problem = Map.groupBy(judged, ({ task_id }) => task_id)
  const passed = judged.filter((one) => one.passed).length
  const counts = [...by_problem.values()].map((samples) => ({
    n: samples.length,
    c: samples.filter((one) => one.passed).length,
  }))
  const fewest = Math.min(...counts.map(({ n }) => n))
  const means = ks
    .filter((k) => k <= fewest)
    .map((k) => [k, counts.reduce((sum, { n, c }) => sum + passAtK(n, c, k), 0) / counts.length])
  const inOrder = suite.problems.filter(({ id }) => by_problem.has(id))
  return {
    suite: suite.name,
    file: suite.file,
    sha256: suite.sha256,
    ...known,
    finished_at: new Date().toISOString(),
    passed,
    total: judged.length,
    interval_95: interval(passed, judged.length),
    pass_at_k: Object.fromEntries(means),
    tokens_in: sum(judged, 'tokens_in'),
    tokens_out: sum(judged, 'tokens_out'),
    results: Object.fromEntries(inOrder.map(({ id }) => [id, problemResult(by_problem.get(id)!)])),
  }
}

function problemResult(samples: Judged[]): ProblemResult {
  const ordered = samples.toSorted((a, b) => a.index - b.index).map(({ passed, failure }) => ({ passed, failure }))
  const passed = ordered.some((one) => one.passed)
  const failure = passed ? null : ordered[0]!.failure
  return ordered.length === 1 ? { passed, failure } : { passed, failure, samples: ordered }
}

const sum = (judged: Judged[], field: 'tokens_in' | 'tokens_out') =>
  judged.reduce((all, one) => all + (one[field] ?? 0), 0)

/** Which problems this run passes and that one did not, and the other way round. */
export function difference(now: Result, before: Result): { fixed: string[]; broken: string[] } {
  const both = Object.keys(now.results).filter((id) => id in before.results)
  return {
    fixed: both.filter((id) => now.results[id]!.passed && !before.results[id]!.passed),
    broken: both.filter((id) => !now.results[id]!.passed && before.results[id]!.passed),
  }
}
