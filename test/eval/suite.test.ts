// The benchmarks' files in the forms they are published in, and samples in the forms of other harnesses.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterAll, expect, test } from 'vitest'
import { readForeignSamples, readOwnSamples } from '../../eval/samples.ts'
import { readSuite } from '../../eval/suite/suite.ts'
import { openSandbox } from '../../sandbox/sandbox.ts'
import { draws } from '../support/draws.ts'
import { sampled } from './drawn.ts'
import { humanEval } from './humaneval.ts'

const folder = mkdtempSync(join(tmpdir(), 'eval-suite-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

function written(name: string, content: string | Buffer): string {
  const file = join(folder, name)
  writeFileSync(file, content)
  return file
}
const jsonl = (...lines: object[]) => lines.map((line) => `${JSON.stringify(line)}\n`).join('')

const mbpp_line = {
  text: 'Write a function to find the shared elements from the given two lists.',
  code: 'def similar_elements(a, b):\r\n  return tuple(sorted(set(a) & set(b)))',
  task_id: 2,
  test_setup_code: '',
  test_list: [
    'assert similar_elements((3, 4, 5, 6),(5, 7, 4, 10)) == (4, 5)',
    'assert set(similar_elements((1,),(1,))) == set((1,))',
  ],
  challenge_test_list: [],
}
const mbpp_plus_line = {
  task_id: 'Mbpp/2',
  prompt:
    '"""\nWrite a function to find the shared elements from the given two lists.\nassert set(similar_elements((3, 4),(5, 4))) == set((4,))\n"""\n',
  entry_point: 'similar_elements',
  canonical_solution: '\ndef similar_elements(a, b):\n  return tuple(set(a) & set(b))\n',
  base_input: [
    [
      [3, 4, 5, 6],
      [5, 7, 4, 10],
    ],
  ],
  plus_input: [
    [[], []],
    [
      [1, 2, 3],
      [3, 2],
    ],
  ],
  contract: '',
  assertion: 'assert True',
  atol: 0,
}
const humaneval_plus_line = {
  task_id: 'HumanEval/2',
  prompt: 'def fraction(number: float) -> float:\n    """ The part after the point.\n    """\n',
  entry_point: 'fraction',
  canonical_solution: '    return number % 1.0\n',
  base_input: [[3.5]],
  plus_input: [[1.25], [123.0]],
  contract: '',
  atol: 0,
}
const with_test = {
  task_id: 'HumanEval/2',
  prompt: humaneval_plus_line.prompt,
  entry_point: 'fraction',
  canonical_solution: '    return number % 1.0\n',
  test: `import numpy as np
def assertion(out, exp, atol):
    if atol == 0 and isinstance(exp, float):
        atol = 1e-6
    if out != exp and atol != 0:
        assert np.allclose(out, exp, rtol=1e-07, atol=atol)
    else:
        assert out == exp, f"out: {out}, exp: {exp}"

def check(candidate):
    inputs = [[3.5], [1.25], [123.0]]
    results = [0.5, 0.25, 0.0]
    for i, (inp, exp) in enumerate(zip(inputs, results)):
        assertion(candidate(*inp), exp, 0)
`,
}

const nearly = '    return number % 1.0 + 1e-9\n'
const forms: [suite: string, name: string, content: string | Buffer, right: string, wrong: string][] = [
  ['mbpp', 'mbpp.jsonl', jsonl(mbpp_line), mbpp_line.code, 'def similar_elements(a, b): return a'],
  [
    'mbpp',
    'sanitized-mbpp.json',
    JSON.stringify([{ ...mbpp_line, prompt: mbpp_line.text, text: undefined, test_imports: ['import math'] }]),
    mbpp_line.code,
    '',
  ],
  ['mbpp', 'mbpp.jsonl.gz', gzipSync(jsonl(mbpp_line)), mbpp_line.code, 'import os\nos._exit(0)'],
  [
    'mbpp+',
    'MbppPlus.jsonl',
    jsonl(mbpp_plus_line),
    'def similar_elements(a, b): return [x for x in a if x in b]',
    'def similar_elements(a, b): return b',
  ],
  ['humaneval+', 'HumanEvalPlus.jsonl', jsonl(humaneval_plus_line), nearly, '    return 0.5\n'],
  ['humaneval+', 'humanevalplus-test.jsonl', jsonl(with_test), nearly, '    return 0.5\n'],
]

test('each published form is read, its own solution passes, and another does not', async () => {
  const { sandbox } = await openSandbox()
  const wrong_verdicts: string[] = []
  // Pyodide takes seconds for each.
  const few = sandbox.name === 'bubblewrap' ? 2 : 1
  for (const [suite, name, content, right, wrong] of sampled(forms, draws('FORMS', { few, all: forms.length }))) {
    const [problem] = readSuite(suite, written(name, content)).problems
    for (const [completion, expected] of [
      [problem!.canonical!, true],
      [right, true],
      [wrong, false],
    ] as const) {
      const { passed, failure } = await sandbox.judge(problem!.task(completion))
      if (passed !== expected) wrong_verdicts.push(`${name}, ${completion}: ${passed}, ${failure}`)
    }
  }
  await sandbox.close()
  expect(wrong_verdicts).toEqual([])
})

test('a question of MBPP has its words and its tests, and its prompt is a docstring with the first', () => {
  const [problem] = readSuite('mbpp', written('mbpp.jsonl', jsonl(mbpp_line))).problems
  expect(problem!.question).toBe(
    [mbpp_line.text, 'Your code should pass these tests:', ...mbpp_line.test_list].join('\n'),
  )
  expect(problem!.prompt).toBe(`"""\n${mbpp_line.text}\n${mbpp_line.test_list[0]}\n"""\n`)
  expect([problem!.id, problem!.entry_point]).toEqual(['Mbpp/2', 'similar_elements'])
  const [plus] = readSuite('mbpp+', written('MbppPlus.jsonl', jsonl(mbpp_plus_line))).problems
  expect(plus!.question).toBe(mbpp_line.text)
})

test('a run says the hash of its file', () => {
  expect(humanEval.sha256).toBe('b796127e635a67f93fb35c04f4cb03cf06f38c8072ee7cee8833d7bee06979ef')
})

test('what cannot be read is refused with its line', () => {
  expect(() => readSuite('humaneval', written('a.jsonl', '{"task_id": "x"}\n'))).toThrow(
    /a\.jsonl, problem 1: it has no text in prompt/,
  )
  expect(() => readSuite('humaneval', written('b.jsonl', '{}\n{"task'))).toThrow(/b\.jsonl, line 2 is no JSON/)
  expect(() => readSuite('mbpp', undefined)).toThrow(/needs --file: google-research/)
  expect(() => readSuite('nonsense', undefined)).toThrow(/there are humaneval/)
  expect(() => readSuite('humaneval', written('c.jsonl', ''))).toThrow(/no problems/)
})

const problems = humanEval.problems.slice(0, 3)

test.each([
  [
    'the official form',
    [{ task_id: 'HumanEval/1', completion: ' x' }],
    { task_id: 'HumanEval/1', completion: ' x', index: 0 },
  ],
  ["CodeFuse's", [{ task_id: 'Python/1', generation: ' x' }], { task_id: 'HumanEval/1', completion: ' x', index: 0 }],
  [
    "EvalPlus's",
    [{ task_id: 'HumanEval/1', solution: 'x' }],
    { task_id: 'HumanEval/1', completion: 'x', is_whole: true, index: 0 },
  ],
  [
    "MultiPL-E's",
    [{ name: 'HumanEval_1_separate', completions: [' x'] }],
    { task_id: 'HumanEval/1', completion: ' x', index: 0 },
  ],
])('samples of %s find their problem', (name, lines, expected) => {
  expect(readForeignSamples(written(`${name}.jsonl`, jsonl(...lines)), problems)).toEqual([expected])
})

test('several samples of a problem are counted, and one of no problem is refused', () => {
  const file = written(
    'n.jsonl',
    jsonl({ task_id: 'HumanEval/0', completion: 'a' }, { task_id: 'HumanEval/0', completion: 'b' }),
  )
  expect(readForeignSamples(file, problems).map(({ index }) => index)).toEqual([0, 1])
  const other = written('o.jsonl', jsonl({ task_id: 'HumanEval/99', completion: 'a' }))
  expect(() => readForeignSamples(other, problems)).toThrow(/line 1: HumanEval\/99 is no problem/)
})

test('a line that was cut short is removed, those before it stay', () => {
  const file = written('own.jsonl', `${jsonl({ task_id: 'HumanEval/0', completion: 'ä', index: 0 })}{"task_id": "Hum`)
  expect(readOwnSamples(file)).toHaveLength(1)
  expect(readOwnSamples(file)).toHaveLength(1)
})
