// What a constraint lets through is what another reader of its notation lets through: Ajv for schemas, JavaScript for regular
// expressions. The programs are followed in the plainest way; grammar.test.ts holds the native follower to the same.
// SCHEMAS=3000 draws so many.

import { describe, expect, test } from 'vitest'
import type { Constraint, ToolsConstraint } from '../../../../../contract/internal/generation.ts'
import { CALL_TAIL, callHead } from '../../../../../contract/internal/tool-call.ts'
import { CallReader } from '../../../../../gpu-node/answer/call-reader.ts'
import { compileConstraint } from '../../../../../gpu-node/run/native/grammar/compile.ts'
import { GrammarError } from '../../../../../gpu-node/run/native/grammar/grammar-error.ts'
import { ReferenceGrammar } from '../../../../support/grammar-reference.ts'
import { drawSchema, drawValue, type JsonSchema, validator, writeJson } from '../../../../support/json-schemas.ts'
import { held, refused } from '../../../../support/published-schemas.ts'
import { type Random, seededRandom } from '../../../../support/random.ts'

const SCHEMAS = Number(process.env.SCHEMAS ?? 10)
const VALUES = 40 // a schema

const grammarOf = (constraint: Constraint) => new ReferenceGrammar(compileConstraint(constraint))
const schemaGrammar = (schema: unknown) => grammarOf({ kind: 'json_schema', schema })
const refusalOf = (constraint: Constraint): string => {
  try {
    compileConstraint(constraint)
    return 'compiled'
  } catch (error) {
    if (error instanceof GrammarError) return error.message
    throw error
  }
}
const schemaRefusal = (schema: unknown) => refusalOf({ kind: 'json_schema', schema })

/** Null where no value follows the schema. */
function satisfiable(schema: JsonSchema): ReferenceGrammar | null {
  try {
    return schemaGrammar(schema)
  } catch (error) {
    if (error instanceof GrammarError && error.message.startsWith('Nothing can follow')) return null
    throw error
  }
}

describe('a schema', () => {
  test('reads of what is written as usual exactly what Ajv finds valid', () => {
    const random = seededRandom()
    const seen = { valid: 0, invalid: 0, empty: 0 }
    for (let i = 0; i < SCHEMAS; i++) {
      const schema = drawSchema(random)
      const isValid = validator(schema)
      const grammar = satisfiable(schema)
      if (grammar === null) seen.empty++
      for (let k = 0; k < VALUES; k++) {
        const value = drawValue(random, schema)
        const text = writeJson(random, value)
        const is_valid = isValid(value)
        seen[is_valid ? 'valid' : 'invalid']++
        expect(grammar?.accepts(text) ?? false, `${text} for ${JSON.stringify(schema)}`).toBe(is_valid)
      }
    }
    expect(Math.min(seen.valid, seen.invalid)).toBeGreaterThan(SCHEMAS * 4)
    expect(seen.empty).toBeLessThan(SCHEMAS / 3)
  }, 600_000)

  test('lets nothing be written that Ajv finds invalid', () => {
    const random = seededRandom()
    let finished = 0
    for (let i = 0; i < SCHEMAS; i++) {
      const schema = drawSchema(random)
      const grammar = satisfiable(schema)
      if (grammar === null) continue
      const isValid = validator(schema)
      for (let k = 0; k < 3; k++) {
        const text = walk(grammar, random)
        if (text === null) continue
        finished++
        expect(isValid(JSON.parse(text)), `${text} for ${JSON.stringify(schema)}`).toBe(true)
      }
    }
    expect(finished).toBeGreaterThan(SCHEMAS)
  }, 600_000)

  test.each([
    [{ minProperties: 1 }, 'minProperties'],
    [{ patternProperties: {} }, 'patternProperties'],
    [{ oneOf: [{}, {}] }, 'oneOf'],
    [{ type: 'object', properties: { a: { not: {} } } }, 'not'],
    [{ type: 'array', uniqueItems: true }, 'uniqueItems'],
    [{ type: 'string', format: 'regex' }, 'format'],
    [{ type: 'string', pattern: '(?=a)' }, 'pattern'],
    [{ type: 'string', pattern: '(' }, 'pattern'],
    [{ type: 'number', multipleOf: 0.01 }, 'multipleOf'],
    [{ type: 'string', maxLength: 1e6 }, 'maxLength'],
    [{ type: 'string', maxLength: -1 }, 'maxLength'],
    [{ type: 'array', maxItems: 1e6 }, 'maxItems'],
    [{ type: 'text' }, 'type'],
    [{ $ref: 'https://example.com/schema' }, '$ref'],
    [{ $ref: '#/$defs/a' }, '$ref'],
    [{ $ref: '#' }, '$ref'],
    [
      { $defs: { a: { anyOf: [{ $ref: '#/$defs/b' }] }, b: { allOf: [{ $ref: '#/$defs/a' }] } }, $ref: '#/$defs/a' },
      '$ref',
    ],
    [{ enum: Array.from({ length: 20_000 }, (_, i) => i) }, 'enum'],
    [{ properties: 1 }, 'properties'],
    [{ items: [{}] }, 'items'],
    [{ required: 'a' }, 'required'],
    [{ constructor: 1 }, 'constructor'],
  ])('of %j is refused by the name of its keyword', (schema, keyword) => {
    expect(schemaRefusal(schema)).toContain(`'${keyword}'`)
  })

  test('of each published kind reads nothing invalid, and of what is valid all that is written in its order', () => {
    for (const { schema, valid, invalid } of held) {
      const isValid = validator(schema as JsonSchema)
      const grammar = schemaGrammar(schema)
      for (const [value, expected] of [
        ...valid.map((value) => [value, true] as const),
        ...invalid.map((value) => [value, false] as const),
      ]) {
        const text = JSON.stringify(value)
        if (!JSON.stringify(schema).includes('"format"'))
          expect(isValid(value), `Ajv of ${text} for ${JSON.stringify(schema)}`).toBe(expected)
        expect(grammar.accepts(text), `${text} for ${JSON.stringify(schema)}`).toBe(expected)
      }
    }
  })

  test.each(refused)('of a published kind with %s is refused by that name: %j', (keyword, schema) => {
    expect(schemaRefusal(schema)).toContain(`'${keyword}'`)
  })

  test.each([
    { type: 'object', properties: { a: { $ref: '#' } }, required: ['a'], additionalProperties: false },
    { allOf: [{ type: 'string' }, { type: 'number' }] },
    { type: 'integer', minimum: 3.2, maximum: 3.8 },
    { type: 'string', minLength: 3, maxLength: 2 },
    { type: 'string', minLength: 1, maxLength: 0, pattern: '[^a-z]$' },
    { type: 'object', additionalProperties: false, required: ['a'] },
    { enum: ['a'], type: 'number' },
  ])('of %j is refused: nothing follows it', (schema) => {
    expect(schemaRefusal(schema)).toContain('Nothing can follow it')
  })

  test('is taken with names, notes and definitions that ask for nothing', () => {
    const notes = {
      title: 't',
      description: 'd',
      default: 1,
      examples: [1],
      $comment: 'c',
      $schema: 's',
      readOnly: true,
    }
    expect(schemaGrammar({ ...notes, $defs: { unused: { not: {} } }, type: 'null' }).accepts('null')).toBe(true)
  })

  test('with properties alone holds those alone', () => {
    const grammar = schemaGrammar({ type: 'object', properties: { a: { type: 'null' } } })
    expect(['{}', '{"a":null}', '{"b":null}', '{"a":null,"a":null}'].map((text) => grammar.accepts(text))).toEqual([
      ...[true, true, false, false],
    ])
  })

  test('with others beside its properties holds no other of the name of one of them', () => {
    const grammar = schemaGrammar({
      type: 'object',
      properties: { a: { type: 'null' }, 'é"': { type: 'null' } },
      additionalProperties: { type: 'integer' },
    })
    expect(['{"a":null,"b":1}', '{"b":1}', '{"aa":1}', '{"":1}'].map((text) => grammar.accepts(text))).toEqual(
      Array(4).fill(true),
    )
    expect(['{"a":1}', '{"a":null,"a":1}', '{"é\\"":1}', '{"b":1,"a":2}'].map((text) => grammar.accepts(text))).toEqual(
      Array(4).fill(false),
    )
  })

  test('with very many properties stays small', () => {
    const properties = Object.fromEntries(Array.from({ length: 1000 }, (_, i) => [`p${i}`, { type: 'string' }]))
    const grammar = schemaGrammar({ type: 'object', properties })
    expect(grammar.accepts('{"p3":"x","p999":""}')).toBe(true)
    expect(grammar.accepts('{"p4":"x","p3":""}')).toBe(false)
  })

  test('with a long string counts its characters', () => {
    for (const [minLength, maxLength] of [
      [0, 500],
      [64, 64],
      [63, 129],
      [1000, 65_536],
    ] as const) {
      const grammar = schemaGrammar({ type: 'string', minLength, maxLength })
      for (const length of [minLength - 1, minLength, Math.min(maxLength, 2000), maxLength + 1]) {
        if (length < 0 || length > 3000) continue
        const is_within = length >= minLength && length <= maxLength
        expect(grammar.accepts(JSON.stringify('é'.repeat(length))), `${length}`).toBe(is_within)
      }
    }
  })
})

test('a JSON object is any, and nothing else', () => {
  const grammar = grammarOf({ kind: 'json' })
  for (const text of ['{}', '{"a":[{},1.5e3,"\\u0001"], "b": null}', '{"a":1,"a":2}'])
    expect(grammar.accepts(text)).toBe(true)
  for (const text of ['[]', '1', '{"a"}', '{"a":01}', ' {}', '{} ', '{"a":"\n"}'])
    expect(grammar.accepts(text)).toBe(false)
})

describe('a regular expression', () => {
  test('reads exactly what JavaScript matches with it', () => {
    const random = seededRandom()
    const texts = textsOf(['a', 'b', '1', 'é'], 4)
    for (let i = 0; i < 25; i++) {
      const source = drawRegex(random, 3)
      const whole = new RegExp(`^(?:${source})$`, 'u')
      const somewhere = new RegExp(source, 'u')
      const grammar = optionalGrammar({ kind: 'regex', regex: source })
      const pattern = optionalGrammar({ kind: 'json_schema', schema: { type: 'string', pattern: source } })
      for (const text of texts) {
        expect(grammar?.accepts(text) ?? false, `${text} for ${source}`).toBe(whole.test(text))
        expect(pattern?.accepts(JSON.stringify(text)) ?? false, `${text} with ${source}`).toBe(somewhere.test(text))
      }
    }
  })

  test.each([
    '\\d',
    '\\W',
    '\\s',
    '.',
    '[^a-z]',
    '\\p{Lu}',
    '[\\d_-]',
    '\\u{1F600}',
    '\\uD83D\\uDE00',
    '\\x41',
    '[\\b]',
    '\\cJ',
  ])('of the class %s holds the same characters', (source) => {
    const grammar = grammarOf({ kind: 'regex', regex: source })
    const pattern = new RegExp(`^(?:${source})$`, 'u')
    for (let point = 0; point < 0x11000; point = Math.ceil(point * 1.01) + 1) {
      if (point >= 0xd800 && point < 0xe000) continue
      const text = String.fromCodePoint(point)
      expect(grammar.accepts(text), `U+${point.toString(16)}`).toBe(pattern.test(text))
    }
    expect(grammar.accepts('😀')).toBe(pattern.test('😀'))
  })

  test.each([
    '(?=a)',
    '(?<!a)b',
    '\\ba',
    '(a)\\1',
    '(',
    ')',
    '[',
    '*a',
    'a{5000}',
    'a{3,2}',
    '\\p{Nonsense}',
    'a\\',
    '(?i:a)',
  ])('of %s is refused, with why', (regex) => {
    expect(refusalOf({ kind: 'regex', regex })).toContain('The regular expression cannot be used')
  })
})

describe('a grammar', () => {
  const reads = (grammar: string, text: string) => grammarOf({ kind: 'grammar', grammar }).accepts(text)

  test('of rules, groups, classes, repetitions and escapes reads what it says', () => {
    const grammar = `# sums
root  ::= sum ("," ws sum)*
sum   ::= term ( [+-] term )?   # one sign
term  ::= [0-9]{1,3} | "(" sum ")" |
          "\\u00e9" | "\\"" | [^a-z0-9()+,"-]
ws    ::= [ \\t]*`
    for (const text of ['1', '1+(2-333)', 'é,  "', '((1)),A', '\u{1F600}'])
      expect(reads(grammar, text), text).toBe(true)
    for (const text of ['', '1234', '1+2+3', '(1', 'a', '1,', '(1))']) expect(reads(grammar, text), text).toBe(false)
  })

  test('may be nested without end', () => {
    expect(reads('root ::= "(" root ")" | ""', '('.repeat(500) + ')'.repeat(500))).toBe(true)
    expect(reads('root ::= "(" root ")" | ""', '('.repeat(500) + ')'.repeat(499))).toBe(false)
  })

  test.each([
    ['', "no rule 'root'"],
    ['a ::= "b"', "no rule 'root'"],
    ['root ::= a', "'a' is not defined"],
    ['root ::= root "a" | "b"', 'left recursion'],
    ['root ::= x root "c" | "b"\nx ::= "y"?', 'left recursion'],
    ['root ::= a\na ::= b\nb ::= a | "x"', 'left recursion'],
    ['root ::= "a" root', 'Nothing can follow it'],
    ['root ::= "a', 'not closed'],
    ['root ::= ("a"', 'not closed'],
    ['root ::= "\\q"', 'not known'],
    ['root = "a"', "'::=' is expected"],
    ['root ::= "a"\nroot ::= "b"', 'twice'],
    ['root ::= "a"{9999}', 'above'],
  ])('%j is refused, with why', (grammar, why) => {
    expect(refusalOf({ kind: 'grammar', grammar })).toContain(why)
  })
})

describe('tools', () => {
  const weather = { name: 'weather', parameters: { type: 'object', properties: { city: { type: 'string' } } } }
  const now = { name: 'now', parameters: null }
  const toolsOf = (more: Partial<ToolsConstraint>): ToolsConstraint => ({
    ...{ kind: 'tools', tools: [weather, now], calls: 'allowed', is_parallel: true },
    ...more,
  })
  const call = (name: string, text: string) => callHead(name) + text + CALL_TAIL
  const one = call('weather', '{"city":"Rome"}')
  const two = `${one}\n${call('now', '{}')}`

  test.each<[string, Partial<ToolsConstraint>, { takes: string[]; refuses: string[] }]>([
    [
      'may be called behind a text, or not',
      {},
      {
        takes: ['', 'a < b', one, two, `I ask.\n${two}`, `\n${one}`, '<tool_call'],
        refuses: ['<tool_call>', `I ask. ${one}`, `${one} `, `${one}\nand`, call('now', '{"a":1}'), call('x', '{}')],
      },
    ],
    ['one at a time', { is_parallel: false }, { takes: ['', one], refuses: [two] }],
    ['must be called', { calls: 'required' }, { takes: [one, two], refuses: ['', 'a', `a\n${one}`] }],
    ['beside an answer in JSON', { text: { kind: 'json' } }, { takes: ['{}', one], refuses: ['', 'a', `{}\n${one}`] }],
    [
      'beside one that is matched',
      { text: { kind: 'regex', regex: 'no+' } },
      { takes: ['noo', two], refuses: ['', 'n', `no\n${one}`] },
    ],
  ])('%s', (_, more, { takes, refuses }) => {
    const grammar = grammarOf(toolsOf(more))
    for (const text of takes) expect(grammar.accepts(text), text).toBe(true)
    for (const text of refuses) expect(grammar.accepts(text), text).toBe(false)
  })

  test('whatever is written, every call has a name and arguments that Ajv finds valid', () => {
    const random = seededRandom()
    let calls = 0
    for (let i = 0; i < SCHEMAS; i++) {
      const tools = ['a', 'b'].map((name) => ({ name, parameters: objectSchema(random) }))
      const isValid = new Map(tools.map(({ name, parameters }) => [name, validator(parameters)]))
      const grammar = grammarOf(toolsOf({ tools, calls: 'required', is_parallel: random.chance(0.5) }))
      const text = walk(grammar, random)
      if (text === null) continue
      for (const { name, arguments: own } of callsIn(text, ['a', 'b'])) {
        calls++
        expect(isValid.get(name)!(JSON.parse(own)), `${text} of ${JSON.stringify(tools)}`).toBe(true)
      }
    }
    expect(calls).toBeGreaterThan(SCHEMAS / 3)
  })

  test('refer to parts of their own schemas', () => {
    const tree = { type: 'object', properties: { next: { $ref: '#' } }, additionalProperties: false }
    const list = { $defs: { a: { type: 'null' } }, properties: { next: { $ref: '#/$defs/a' } } }
    const grammar = grammarOf(toolsOf({ tools: [tree, list].map((parameters, i) => ({ name: `t${i}`, parameters })) }))
    expect(grammar.accepts(call('t0', '{"next":{"next":{}}}'))).toBe(true)
    expect(grammar.accepts(call('t1', '{"next":null}'))).toBe(true)
    expect(grammar.accepts(call('t1', '{"next":{}}'))).toBe(false)
  })

  test.each<[string, Partial<ToolsConstraint>, string]>([
    [
      'whose parameters cannot be held',
      { tools: [now, { name: 'b', parameters: { not: {} } }] },
      "The tool 'b': The keyword 'not'",
    ],
    [
      'whose parameters are no object',
      { tools: [{ name: 'b', parameters: { type: 'string' } }], calls: 'required' },
      'Nothing can follow it',
    ],
    ['beside a grammar', { text: { kind: 'grammar', grammar: 'root ::= "a"' } }, 'beside tools'],
  ])('%s are refused, with why', (_, more, why) => {
    expect(refusalOf(toolsOf(more))).toContain(why)
  })
})

/** A schema that objects follow, and nothing else need. */
function objectSchema(random: Random): JsonSchema {
  for (;;) {
    const schema = { type: 'object', properties: { p: drawSchemaAlone(random) }, additionalProperties: false }
    if (satisfiable(schema)) return schema
  }
}

/** One whose references, which are to the whole of it, need not be moved. */
function drawSchemaAlone(random: Random): JsonSchema {
  for (;;) {
    const schema = drawSchema(random)
    if (!JSON.stringify(schema).includes('$ref')) return schema
  }
}

function callsIn(text: string, names: string[]): { name: string; arguments: string }[] {
  const calls: { name: string; arguments: string }[] = []
  for (const part of new CallReader(names).push(text)) {
    if (part.kind === 'call') calls.push({ name: part.name, arguments: '' })
    if (part.kind === 'arguments') calls[part.index]!.arguments += part.text
  }
  return calls
}

// Each is bounded by counting what it does, so this needs no clock.
test.each<[string, Constraint]>([
  ['a pattern whose automaton is exponential', { kind: 'regex', regex: '(a|b)*a(a|b){30}' }],
  ['repetitions in repetitions', { kind: 'regex', regex: '(((a{1,999}){1,999}){1,999})' }],
  [
    'lists in lists in lists',
    {
      kind: 'json_schema',
      schema: nest(6, (items) => ({ type: 'array', maxItems: 4096, minItems: 4000, items }), {
        type: 'string',
        maxLength: 2000,
        pattern: 'a',
      }),
    },
  ],
  ['references that double', { kind: 'json_schema', schema: doubling('allOf') }],
  ['alternatives that double', { kind: 'json_schema', schema: doubling('anyOf') }],
  ['a long grammar', { kind: 'grammar', grammar: `root ::= ${'("a" | "b")* '.repeat(60_000)}` }],
  ['a deep group', { kind: 'regex', regex: '('.repeat(10_000) }],
  [
    'many rules',
    {
      kind: 'grammar',
      grammar: `root ::= r0\n${Array.from({ length: 60_000 }, (_, i) => `r${i} ::= "a" r${i + 1}?`).join('\n')}`,
    },
  ],
])('%s is refused', (_, constraint) => {
  expect(refusalOf(constraint)).toMatch(/too large|too complex|too deeply|alternatives|not defined/)
})

test('constraints that are broken anywhere are refused or taken, and nothing else', () => {
  const random = seededRandom()
  const whole: Constraint[] = [
    { kind: 'regex', regex: '^(?:[a-f\\d]{2,3}|\\u{1F600}?(?<n>x|\\p{Lu})+)$' },
    { kind: 'grammar', grammar: 'root ::= a ("," a){0,3} # x\na ::= [^\\n\\x41-Z]+ | "\\u00e9"' },
    { kind: 'json_schema', schema: drawSchema(random) },
  ]
  for (let i = 0; i < 60; i++) expect(refusalOf(broken(random, random.pick(whole)))).toEqual(expect.any(String))
})

function broken(random: Random, constraint: Constraint): Constraint {
  const cut = (text: string) => {
    const at = random.below(text.length)
    const piece = random.pick([
      '',
      '(',
      ')',
      '[',
      '{',
      '\\',
      '*',
      '|',
      '"',
      '?',
      '-',
      ':',
      text.slice(random.below(at + 1), at),
    ])
    return text.slice(0, at) + piece + text.slice(at + random.below(3))
  }
  if (constraint.kind === 'regex') return { ...constraint, regex: cut(constraint.regex) }
  if (constraint.kind === 'grammar') return { ...constraint, grammar: cut(constraint.grammar) }
  const { schema } = constraint as { schema: unknown }
  const text = JSON.stringify(schema).replaceAll(/[\w$]+/g, (word) =>
    random.chance(0.1) ? random.pick(['1', 'x', 'type', '-3', '[]', 'null']).replaceAll(/\W/g, '') || '0' : word,
  )
  return { kind: 'json_schema', schema: parsedOr(text, schema) }
}

function parsedOr(text: string, other: unknown): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return other
  }
}

/** A text written at random, byte by byte, that goes for its end when it becomes long; null where it finds none. */
function walk(grammar: ReferenceGrammar, random: Random): string | null {
  const bytes: number[] = []
  for (let state = grammar.start; bytes.length < 400; ) {
    const alive = Array.from({ length: 256 }, (_, byte) => byte).filter((byte) =>
      grammar.isAlive(grammar.step(state, byte)),
    )
    if (state.accepts && (alive.length === 0 || random.chance(0.3))) return Buffer.from(bytes).toString()
    const closing = alive.filter((byte) => [0x22, 0x5d, 0x7d].includes(byte)) // quotes and brackets
    const byte = random.pick(closing.length > 0 && random.chance(bytes.length / 100) ? closing : alive)
    bytes.push(byte)
    state = grammar.step(state, byte)
  }
  return null
}

function optionalGrammar(constraint: Constraint): ReferenceGrammar | null {
  try {
    return grammarOf(constraint)
  } catch (error) {
    if (error instanceof GrammarError && error.message.startsWith('Nothing can follow')) return null
    throw error
  }
}

function drawRegex(random: Random, depth: number): string {
  if (depth === 0) return random.pick(['a', 'b', '1', '.', '[ab]', '[^a]', '\\d', '\\w', '^', '$', 'é', ''])
  const part = () => drawRegex(random, depth - 1)
  const quantifier = random.pick(['*', '+', '?', '{2}', '{1,2}', '{0,1}?', '*?'])
  const forms = [() => `${part()}${part()}`, () => `(${part()}|${part()})`, () => `(?:a${part()})${quantifier}`, part]
  return random.pick(forms)()
}

function textsOf(letters: string[], length_max: number): string[] {
  let longest = ['']
  const all = ['']
  for (let length = 1; length <= length_max; length++) {
    longest = longest.flatMap((text) => letters.map((letter) => text + letter))
    all.push(...longest)
  }
  return all
}

function nest(depth: number, wrap: (inner: unknown) => unknown, core: unknown): unknown {
  return depth === 0 ? core : wrap(nest(depth - 1, wrap, core))
}

function doubling(keyword: string) {
  const defs = Object.fromEntries(
    Array.from({ length: 60 }, (_, i) => [
      `d${i}`,
      { [keyword]: [{ $ref: `#/$defs/d${i + 1}` }, { $ref: `#/$defs/d${i + 1}` }] },
    ]),
  )
  return { $defs: { ...defs, d60: { type: 'string' } }, $ref: '#/$defs/d0' }
}
