// Rust. Both programs print by `{:?}`, the derived form, which shows every digit of a float.

import { calledFunction, closed, type Expectation, endOfBrackets } from '../multipl-e-form.ts'
import type { Compiled } from './language.ts'

export const rust: Compiled = {
  programs: (given, mark) => {
    const task = closed(given)
    const name = calledFunction(task.tests)
    const tests = expectations(task.tests)
    const actual = tests.map(({ call }, i) => `    println!("\\n${mark} ${i} {:?}", ${call});`)
    // The call is never made: it only says of which type the expectation is.
    const wanted = tests.map(({ call, expected }, i) => `    shown(${i}, || ${call}, ${expected});`)
    const show = `fn shown<T: std::fmt::Debug>(i: usize, _: impl FnOnce() -> T, value: T) { println!("\\n${mark} {} {:?}", i, value); }`
    const main = (lines: string[]) => `\nfn main() {\n    let candidate = ${name};\n${lines.join('\n')}\n}\n`
    return {
      candidate: { 'main.rs': task.candidate + main(actual) },
      expected: { 'main.rs': `${task.context}    unimplemented!()\n}\n${show}${main(wanted)}` },
      lines: tests.map(({ line }) => line),
    }
  },
  compile: () => ['rustc', '--edition=2021', '-Awarnings', '-Copt-level=1', '-o', '/build/program', '/build/main.rs'],
  run: ['/build/program'],
}

/** `assert_eq!(candidate(…), …);`, a line each. */
function expectations(tests: string): Expectation[] {
  return tests.split('\n').flatMap((raw) => {
    const line = raw.trim()
    if (!line.startsWith('assert_eq!(')) return []
    const end = endOfBrackets(line, line.indexOf('candidate('))
    const call = line.slice('assert_eq!('.length, end + 1)
    return [{ line, call, expected: line.slice(end + 2, endOfBrackets(line, 'assert_eq!'.length)).trim() }]
  })
}
