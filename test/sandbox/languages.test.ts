// The other languages: tests of MultiPL-E's form, with a solution, a mistake, and ways to a pass without one. Each language runs where its
// compiler is.

import { describe, expect, test } from 'vitest'
import { type Language, openSandbox } from '../../sandbox/sandbox.ts'
import { sampled } from '../eval/drawn.ts'
import { draws } from '../support/draws.ts'

interface Case {
  language: Language
  /** What the solution and the cheats complete. */
  prompt: string
  tests: string
  right: string
  /** With what the failure says. */
  wrong: [completion: string, says: RegExp]
  cheats: string[]
}

const node_tests = `const assert = require('node:assert');


function test() {
  let candidate = pairs;
  assert.deepEqual(candidate([1, 2], "a)"),{"a)": [1, 2]});
  assert.deepEqual(candidate([], ""),{});
}

test();`

const cases: Case[] = [
  {
    language: 'javascript',
    prompt: '//Pairs.\nfunction pairs(numbers, name){\n',
    tests: node_tests,
    right: '  console.log("debug");\n  return name ? { [name]: numbers } : {};\n}\n',
    wrong: ['  return {};\n}\n', /deepEqual\(candidate\(\[1, 2\], "a\)"\).* # got \{\}/],
    cheats: [
      '}\nprocess.exit(0)\n',
      '  return new Proxy({}, { get: () => true, has: () => true });\n}\n',
      '}\nrequire("node:assert").deepEqual = () => {}\n',
      '}\nrequire("node:fs").writeSync(1, \'{"passed":true}\\n\')\nprocess.exit(0)\n',
    ],
  },
  {
    language: 'typescript',
    prompt: '//Pairs.\nfunction pairs(numbers: number[], name: string): Record<string, number[]> {\n',
    tests: `declare var require: any;\n${node_tests}`,
    right: '  return name ? { [name]: numbers } : {};\n}\n',
    wrong: ['  return {} as any;\n}\n', /deepEqual/],
    cheats: ['  process.exit(0);\n}\n'],
  },
  {
    language: 'shell',
    prompt: '#!/bin/bash\n# $1 is an integer\nadd() {\n',
    tests:
      '}\n\ncandidate() {\n    add "$@"\n}\n\nset -e\nrun_test() {\n    [[ $(candidate "1" "2") = "3" ]]\n    [[ $(candidate "2" "-2") = "0" ]]\n}\n\nrun_test',
    right: '    echo "debug" >&2\n    echo $(($1 + $2))',
    wrong: ['    echo 3', /candidate "2" "-2"/],
    cheats: ['    :\n}\nexit 0\n{', '    :\n}\nset() { :; }\nrun_test() { :; }\n{', '    kill -9 $PPID $$; echo 3'],
  },
  {
    language: 'cpp',
    prompt:
      '#include<assert.h>\n#include<bits/stdc++.h>\n// Pairs.\nstd::tuple<long, std::vector<float>> f(std::string s) {\n',
    tests:
      '}\nint main() {\n    auto candidate = f;\n    assert(candidate(("a)b")) == (std::make_tuple(3, std::vector<float>({(float)0.1f}))));\n    assert(candidate(("")) == (std::make_tuple(0, std::vector<float>({(float)0.1f}))));\n}\n',
    right: '  std::cout << "debug";\n  return {(long)s.size(), {0.1f}};\n',
    wrong: ['  return {3, {0.1f}};\n', /candidate\(\(""\)\).* # got \(3,/],
    cheats: [
      '  exit(0);\n',
      '  return {};\n}\n#define assert(x) ((void)0)\n#define NDEBUG\nnamespace {\n',
      '  return {};\n}\ntemplate <class... A> bool operator==(const std::tuple<A...>&, const std::tuple<A...>&) { return true; }\nnamespace {\n',
    ],
  },
  {
    language: 'rust',
    prompt: 'use std::collections::HashMap;\n\n/// Counts.\nfn counts(s: String) -> HashMap<String, isize> {\n',
    tests:
      '}\n\nfn main() {\n    let candidate = counts;\n    assert_eq!(candidate(String::from("a b")), HashMap::from([(String::from("a"), 1), (String::from("b"), 1)]));\n    assert_eq!(candidate(String::from("")), HashMap::from([]));\n}\n',
    right:
      '    println!("debug");\n    let mut m = HashMap::new();\n    for w in s.split_whitespace() { *m.entry(w.to_string()).or_insert(0) += 1; }\n    m\n',
    wrong: ['    HashMap::new()\n', /"a b".* # got \{\}/],
    cheats: [
      '    std::process::exit(0)\n',
      '    HashMap::new()\n}\nmacro_rules! assert_eq { ($($t:tt)*) => {} }\nmod rest {\n',
    ],
  },
  {
    language: 'java',
    prompt:
      'import java.util.*;\nimport org.javatuples.*;\nclass Problem {\n    // Pairs.\n    public static Pair<Long, ArrayList<String>> f(long n) {\n',
    tests:
      '    }\n    public static void main(String[] args) {\n    assert(f((3l)).equals((Pair.with(3l, new ArrayList<String>(Arrays.asList((String)"x"))))));\n    assert(f((4l)).equals((Pair.with(4l, new ArrayList<String>(Arrays.asList((String)"x"))))));\n    }\n\n}\n',
    right:
      '        System.out.println("debug");\n        return Pair.with(n, new ArrayList<String>(Arrays.asList("x")));\n',
    wrong: ['        return Pair.with(3l, new ArrayList<String>(Arrays.asList("x")));\n', /f\(\(4l\)\).* # got/],
    cheats: [
      '        System.exit(0);\n        return null;\n',
      '        return Pair.with(n, new ArrayList<String>() { public boolean equals(Object other) { return true; } });\n',
    ],
  },
  {
    language: 'go',
    prompt: 'package f_test\n\nimport (\n    "testing"\n    "fmt"\n)\n\n// Doubles.\nfunc f(numbers []int) []int {\n',
    tests:
      'func TestF(t *testing.T) {\n  candidate := f\n\ttype test struct {\n\t\tactual   interface{}\n\t\texpected interface{}\n\t}\n   tests := []test{\n     { actual: candidate([]int{1, 2}), expected: []int{2, 4} },\n     { actual: candidate([]int{}), expected: []int{} },\n   }\n\n\tfor i, tc := range tests {\n\t\tt.Run(fmt.Sprintf("test num % d", i), func(t *testing.T) {\n\t\t\tif fmt.Sprintf("%v", tc.actual) != fmt.Sprintf("%v", tc.expected) {\n\t\t\t\tt.Errorf("expected \'%s\', got \'%s\'", tc.expected, tc.actual)\n\t\t\t}\n\t\t})\n\t}\n}\n',
    right:
      '    twice := []int{}\n    for _, n := range numbers { twice = append(twice, 2 * n) }\n    return twice\n}\n',
    wrong: ['    return numbers\n}\n', /\{1, 2\}.* # got \[1 2\]/],
    cheats: [
      '    return nil\n}\nfunc init() { panic("x") }\n',
      '    return nil\n}\nfunc TestMain(m *testing.M) { fmt.Println("PASS") }\n',
    ],
  },
]

const { sandbox, reason } = await openSandbox()
const here = cases.filter(({ language }) => sandbox.languages.includes(language))
const absent = cases.filter((one) => !here.includes(one)).map(({ language }) => language)
if (absent.length > 0) console.warn(`not judged here: ${absent.join(', ')}${reason ? `; ${reason}` : ''}`)

const tries = here.flatMap(({ language, prompt, tests, right, wrong, cheats }) => {
  const task = (completion: string) => ({
    language,
    prompt,
    task: { language, candidate: prompt + completion, context: prompt, tests },
  })
  return [
    { ...task(right), name: 'a solution', says: null },
    { ...task(wrong[0]), name: 'a mistake', says: wrong[1] },
    ...cheats.map((cheat) => ({ ...task(cheat), name: `a cheat, ${JSON.stringify(cheat)},`, says: /./ })),
  ]
})
// A compiler takes seconds: two of all by default.
const drawn = sampled(tries, draws('LANGUAGES', { few: 2, all: tries.length }))

describe.runIf(drawn.length > 0)('other languages', () => {
  test.each(drawn)('$language: $name gets what it deserves', async ({ task, says }) => {
    const { passed, failure } = await sandbox.judge(task)
    expect(passed, failure ?? '').toBe(says === null)
    if (says) expect(failure).toMatch(says)
  })
})

test('every language that this machine has is among them', () => {
  expect(sandbox.languages).toContain('python')
  expect(here.length).toBe(sandbox.languages.length - 1)
})
