// Go. The tests themselves compare what `%v` prints, and so do we.

import { calledFunction, type Expectation, endOfBrackets } from '../multipl-e-form.ts'
import type { Compiled } from './language.ts'

export const go: Compiled = {
  programs: (task, mark) => {
    const name = calledFunction(task.tests)
    const tests = expectations(task.tests)
    const test = (of: (test: Expectation) => string) =>
      `\nfunc TestAll(t *testing.T) {\n\tcandidate := ${name}\n\t_ = candidate\n${tests.map((one, i) => `\tfmt.Printf("\\n${mark} ${i} %v\\n", ${of(one)})`).join('\n')}\n}\n`
    return {
      candidate: { 'all_test.go': task.candidate + test(({ call }) => call) },
      expected: { 'all_test.go': `${task.context}\tpanic(0)\n}\n${test(({ expected }) => expected)}` },
      lines: tests.map(({ line }) => line),
    }
  },
  compile: () => ['go', 'test', '-c', '-vet=off', '-o', '/build/program', '/build/all_test.go'],
  run: ['/build/program', '-test.run', 'TestAll'],
  compiles_with: { reserves_memory: true },
  runs_with: { reserves_memory: true },
}

/** `{ actual: candidate(…), expected: … },`, a line each. */
function expectations(tests: string): Expectation[] {
  return tests.split('\n').flatMap((raw) => {
    const line = raw.trim()
    if (!/^\{ actual: candidate\(/.test(line)) return []
    const start = line.indexOf('candidate(')
    const end = endOfBrackets(line, start)
    const expected = line.slice(line.indexOf('expected:', end) + 'expected:'.length, endOfBrackets(line, 0))
    return [{ line, call: line.slice(start, end + 1), expected: expected.trim() }]
  })
}
