// MBPP as Google publishes it, whole or sanitized, and MBPP+ as EvalPlus does. A completion is a whole program; the prompt is the
// question with its first test as a docstring, as EvalPlus asks it.

import type { Problem } from '../problem.ts'
import { text, texts } from './field.ts'
import { withInputs } from './plus-inputs.ts'
import type { Line } from './suite.ts'

const stops = ['\nclass Test', '\nif __name__', '\nassert ', '\nprint(', '\n"""', '\n# Test']

export function mbpp(line: Line): Problem {
  const words = wordsOf(line)
  const tests = testsOf(line)
  const first = 'test_list' in line ? texts(line, 'test_list') : []
  return {
    id: idOf(line),
    language: 'python',
    prompt: `"""\n${[words, ...first.slice(0, 1)].join('\n')}\n"""\n`,
    question: [words, ...(first.length ? ['Your code should pass these tests:', ...first] : [])].join('\n'),
    entry_point: typeof line.entry_point === 'string' ? line.entry_point : calledBy(first[0] ?? ''),
    stops,
    canonical: text(line, 'code', 'canonical_solution'),
    task: (completion) => ({ language: 'python', candidate: completion, tests }),
  }
}

export function mbppPlus(line: Line): Problem {
  return Array.isArray(line.plus_input) ? withInputs(mbpp(line), line, 'mbpp') : mbpp(line)
}

const idOf = ({ task_id }: Line) => (typeof task_id === 'number' ? `Mbpp/${task_id}` : String(task_id))

/** EvalPlus keeps question and first test in one docstring. */
function wordsOf(line: Line): string {
  const words = text(line, 'text', 'prompt').trim()
  return words
    .replace(/^"""|"""$/g, '')
    .trim()
    .split(/\nassert /)[0]!
    .trim()
}

function testsOf(line: Line): string {
  if (typeof line.test === 'string') return line.test
  if (typeof line.assertion === 'string' && !('test_list' in line)) return line.assertion
  const imports = Array.isArray(line.test_imports) ? texts(line, 'test_imports') : []
  const setup = typeof line.test_setup_code === 'string' ? [line.test_setup_code] : []
  return [...imports, ...setup, ...texts(line, 'test_list')].join('\n')
}

/** The function a test calls: the first name before a parenthesis that is none of Python's own. */
function calledBy(test: string): string | null {
  const own = new Set(['assert', 'set', 'sorted', 'tuple', 'list', 'len', 'not', 'isclose', 'math'])
  return [...test.matchAll(/([A-Za-z_]\w*)\s*\(/g)].map(([, name]) => name!).find((name) => !own.has(name)) ?? null
}
