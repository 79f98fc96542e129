// The live line: how many are judged, the pass rate so far and how sure it is. On a terminal it is one line that changes; elsewhere
// a line a tenth.

import { interval, percent } from '../score.ts'

const bar_width = 24

export function openProgress(name: string, total: number) {
  let judged = 0
  let passed = 0
  let shown_tenth = -1
  const began = performance.now()
  const show = () => {
    const line = lineOf(name, { judged, passed, total, seconds: (performance.now() - began) / 1000 })
    const tenth = Math.floor((10 * judged) / total)
    if (process.stderr.isTTY) process.stderr.write(`\r\x1b[2K${line}${judged === total ? '\n' : ''}`)
    else if (tenth > shown_tenth) process.stderr.write(`${line}\n`)
    shown_tenth = tenth
  }
  return {
    add: (one: { passed: boolean }) => {
      judged++
      if (one.passed) passed++
      show()
    },
  }
}

function lineOf(name: string, now: { judged: number; passed: number; total: number; seconds: number }): string {
  const { judged, passed, total, seconds } = now
  const full = Math.round((bar_width * judged) / total)
  const [low, high] = interval(passed, judged).map(percent)
  const left =
    judged < total ? `  ${Math.ceil((seconds / judged) * (total - judged))} s left` : `  ${Math.ceil(seconds)} s`
  return `${name} ${'█'.repeat(full)}${'░'.repeat(bar_width - full)} ${judged}/${total}  pass ${percent(passed / judged)} [${low}, ${high}]${left}`
}
