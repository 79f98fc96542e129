// The questions that the embedded model never saw, half of them Chinese: words in, a whole function out.

import type { Problem } from '../problem.ts'
import { text } from './field.ts'
import type { Line } from './suite.ts'

export function heldOut(line: Line): Problem {
  const tests = [line.tests].flat().join('\n')
  const entry_point = text(line, 'entry_point')
  return {
    id: text(line, 'id'),
    language: 'python',
    prompt: text(line, 'prompt'),
    question: text(line, 'prompt'),
    entry_point,
    stops: [],
    canonical: null,
    group: text(line, 'lang'),
    task: (completion) => ({ language: 'python', candidate: completion, tests, names: [entry_point] }),
  }
}
