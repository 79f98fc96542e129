// The tests of EvalPlus where its file has inputs instead of a test: the canonical solution says what each should give, and results
// are compared as EvalPlus compares them (evalplus/eval/__init__.py): exactly, or floats within a tolerance, with its exceptions.

import type { Problem } from '../problem.ts'
import type { Line } from './suite.ts'

export function withInputs(problem: Problem, line: Line, family: 'humaneval' | 'mbpp'): Problem {
  const tests = testsOf(problem, line, family)
  // A few hundred inputs, each given to both programs.
  const limits = { cpu_s: 20, wall_s: 90 }
  return { ...problem, task: (completion) => ({ ...problem.task(completion), tests, limits }) }
}

function testsOf({ prompt, canonical, entry_point }: Problem, line: Line, family: 'humaneval' | 'mbpp'): string {
  const inputs = [...(line.base_input as unknown[]), ...(line.plus_input as unknown[])]
  const solution = family === 'humaneval' ? `${prompt}${canonical}` : canonical
  const given = {
    inputs,
    solution,
    entry_point,
    atol: Number(line.atol ?? 0),
    compare: comparison[entry_point!] ?? 'equal',
    as_tuples: family === 'mbpp',
  }
  return `import json\ngiven = json.loads(${JSON.stringify(JSON.stringify(given))})\n${checks(entry_point!)}`
}

const comparison: Record<string, string> = {
  find_zero: 'root',
  are_equivalent: 'any',
  sum_div: 'or_zero',
  check_str: 'not_none',
  text_match_three: 'not_none',
  text_starta_endb: 'not_none',
  ...Object.fromEntries(
    [
      'similar_elements',
      'find_char_long',
      'common_in_nested_lists',
      'extract_singly',
      'larg_nnum',
      'intersection_array',
      'find_dissimilar',
      'Diff',
    ].map((name) => [name, 'set']),
  ),
}

const checks = (entry_point: string) => `
import copy, math
reference_names = {}
exec(given["solution"], reference_names)
reference = reference_names[given["entry_point"]]

def are_floats(value):
    if isinstance(value, float):
        return True
    return isinstance(value, (list, tuple)) and len(value) > 0 and all(isinstance(one, float) for one in value)

def are_close(out, expected, atol):
    if isinstance(expected, (list, tuple)):
        return type(out) in (list, tuple) and len(out) == len(expected) and all(are_close(a, b, atol) for a, b in zip(out, expected))
    if isinstance(expected, (int, float)) and isinstance(out, (int, float)):
        return out == expected or abs(out - expected) <= atol + 1e-07 * abs(expected) or (out != out and expected != expected)
    return out == expected

def matches(out, expected, input):
    compare, atol = given["compare"], given["atol"]
    if compare == "root":
        return abs(sum(c * out ** i for i, c in enumerate(input[0]))) <= max(atol, 1e-4)
    if compare == "any":
        return True
    if compare == "or_zero" and out == 0:
        return True
    if compare == "set":
        return set(out) == set(expected)
    if compare == "not_none":
        return out == expected if isinstance(out, bool) else expected == (out is not None)
    if atol == 0 and are_floats(expected):
        atol = 1e-6
    return out == expected or (atol != 0 and are_close(out, expected, atol))

for input in given["inputs"]:
    expected = reference(*copy.deepcopy(input))
    out = ${entry_point}(*copy.deepcopy(input))
    assert matches(out, expected, input), "%s: expected %.100r" % (repr(input)[1:-1][:100], expected)
`
