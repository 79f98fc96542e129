// HumanEval as OpenAI publishes it, and HumanEval+ as EvalPlus does: with its inputs, or with the test that it made of them.

import type { Problem } from '../problem.ts'
import { text } from './field.ts'
import { withInputs } from './plus-inputs.ts'
import type { Line } from './suite.ts'

// Where the authors cut a continuation (Chen et al. 2021, section 2.2).
const stops = ['\nclass', '\ndef', '\n#', '\nif', '\nprint']

export function humanEval(line: Line): Problem {
  const prompt = text(line, 'prompt')
  const entry_point = text(line, 'entry_point')
  const tests = `${text(line, 'test')}\ncheck(${entry_point})\n`
  return {
    id: text(line, 'task_id'),
    language: 'python',
    prompt,
    question: null,
    entry_point,
    stops,
    canonical: text(line, 'canonical_solution'),
    task: (completion) => ({
      language: 'python',
      candidate: prompt + completion,
      // The tests use helpers that some prompts define: those of the prompt, not what a candidate made of them.
      context: `${prompt}    pass\n`,
      tests,
      names: [entry_point],
    }),
  }
}

export function humanEvalPlus(line: Line): Problem {
  return Array.isArray(line.plus_input)
    ? withInputs(humanEval({ test: '', ...line }), line, 'humaneval')
    : humanEval(line)
}
