// How models are asked, byte for byte as published, and what of their answers is code.

import { expect, test } from 'vitest'
import { completionOf, recipeFor } from '../../eval/recipe.ts'
import { readSuite } from '../../eval/suite/suite.ts'
import { humanEval } from './humaneval.ts'

const problem = humanEval.problems[0]!
const { prompt } = problem

test.each([
  [
    'Ziya-Coding-34B-v1.0',
    `<human>: \nPlease Complete the given function below according to the docstring: \n${prompt}\n<bot>: \n`,
  ],
  [
    'CodeFuse-CodeLlama-34B',
    `<|role_start|>human<|role_end|># language: Python\n${prompt}<|role_start|>bot<|role_end|>`,
  ],
  ['Phind-CodeLlama-34B-v2', prompt],
  ['CodeLlama-34b-Python-hf', prompt],
  [
    'WizardCoder-Python-34B-V1.0',
    `Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n\n### Instruction:\nCreate a Python script for this problem:\n${prompt.replaceAll('    ', '\t')}\n\n### Response:`,
  ],
])('%s is asked as its makers asked it', (model, expected) => {
  const recipe = recipeFor(model, undefined)
  expect(recipe.ask(problem)).toBe(expected)
  expect(recipe.endpoint).toBe('completions')
})

test('Ziya is asked greedily for 2,048 tokens, and its answer is taken as it is', () => {
  const recipe = recipeFor('Ziya-Coding-34B-v1.0', undefined)
  expect(recipe.sampling).toEqual({ temperature: 0, top_p: 1, max_tokens: 2048, stop: ['</s>'] })
  expect(completionOf(recipe, '```python\n    return 1\n```', problem)).toBe('```python\n    return 1\n```')
})

test.each([
  [
    'wizardcoder',
    '```python\ndef has_close_elements(a, b):\n\treturn 1\nif __name__ == "__main__":\n    print(1)\n```\nDone.',
    '    pass\n\ndef has_close_elements(a, b):\n    return 1\n',
  ],
  ['wizardcoder', '    return 1\n# Example usage\nprint(1)', '    return 1\n'],
  ['phind', `${prompt}    return 1\n\n\n\nprint(2)`, '    return 1'],
  ['plain', '    return 1\n\ndef other():\n    pass', '    return 1\n'],
  [
    'chat',
    'Here:\n```python\ndef has_close_elements(a, b):\n    return 1\n```\nIt works.',
    '    pass\n\ndef has_close_elements(a, b):\n    return 1',
  ],
  ['chat', '```py\n    return 1\n', '    return 1\n'],
  ['chat', '    return 1', '    return 1'],
])('%s: %j', (name, answer, completion) => {
  expect(completionOf(recipeFor('any', name), answer, problem)).toBe(completion)
})

test('a chat answer in another language ends where the tests go on', () => {
  const line = {
    name: 'HumanEval_0_f',
    language: 'cpp',
    prompt: '#include<assert.h>\n// One.\nlong f() {\n',
    tests: '}\nint main() {}',
    stop_tokens: ['\n}'],
  }
  const [given] = [line].map((one) => ({
    ...problem,
    prompt: one.prompt,
    language: 'cpp' as const,
    stops: one.stop_tokens,
  }))
  const answer = 'Sure:\n```cpp\n#include <vector>\nlong f() {\n    return 1;\n}\nint main() { f(); }\n```'
  expect(completionOf(recipeFor('any', undefined), answer, given!)).toBe('\n    return 1;')
})

test('a question in words is asked in words', () => {
  const held_out = readSuite('held-out', undefined).problems[0]!
  expect(recipeFor('ziya-coding-mini', undefined).ask(held_out)).toBe(held_out.question)
})
