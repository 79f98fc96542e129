// What a run found, in lines for a reader.

import type { Problem } from '../problem.ts'
import { interval, percent } from '../score.ts'
import { difference, type Result } from './result.ts'

export function summary(result: Result, before: Result | null, problems: Problem[]): string {
  const failures = Object.entries(result.results).filter(([, one]) => !one.passed)
  return [
    ...failures.map(([id, { failure }]) => `✗ ${id}  ${failure}`),
    ...(failures.length > 0 ? [''] : []),
    ...groupLines(result, problems),
    headline(result),
    ...Object.entries(result.pass_at_k).map(([k, rate]) => `  pass@${k} ${percent(rate)}`),
    ...(before ? [differenceLine(result, before)] : []),
  ].join('\n')
}

const headline = ({ suite, model, passed, total, interval_95, sha256, sandbox }: Result) =>
  `${suite}, ${model}: ${passed} of ${total}, ${percent(passed / total)} [${interval_95.map(percent).join(', ')}]` +
  `  (file sha256 ${sha256.slice(0, 12)}, judged in ${sandbox})`

function groupLines({ results }: Result, problems: Problem[]): string[] {
  const groups = Map.groupBy(
    problems.filter(({ id, group }) => group && id in results),
    ({ group }) => group!,
  )
  return [...groups].map(([group, those]) => {
    const passed = those.filter(({ id }) => results[id]!.passed).length
    return `  ${group}: ${passed} of ${those.length}, ${percent(passed / those.length)} [${interval(passed, those.length).map(percent).join(', ')}]`
  })
}

function differenceLine(now: Result, before: Result): string {
  const { fixed, broken } = difference(now, before)
  const named = (ids: string[]) => (ids.length ? `: ${ids.join(' ')}` : '')
  return `  since ${before.finished_at}: ${fixed.length} fixed${named(fixed)}, ${broken.length} broken${named(broken)}`
}
