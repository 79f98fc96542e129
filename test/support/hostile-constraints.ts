// Constraints that were made to hurt: exponential automata, alternatives that double, readings without end, counts in counts, tables that
// are as large as they may be. Some are refused, some can be held; none may hold up others.

import type { Constraint } from '../../contract/internal/generation.ts'
import type { Random } from './random.ts'

export function drawHostile(random: Random): Constraint {
  return random.pick(kinds)(random)
}

const kinds: ((random: Random) => Constraint)[] = [
  ambiguousGrammar,
  ambiguousRegex,
  longCounts,
  manyRules,
  manyValues,
  deepSchema,
  doublingSchema,
  wideSchema,
  hostilePattern,
  manyTools,
]

const times = <T>(count: number, make: (i: number) => T): T[] => Array.from({ length: count }, (_, i) => make(i))

function ambiguousGrammar(random: Random): Constraint {
  const items = times(2 + random.below(4), () =>
    random.pick(['s s', '"a" s', 's2 s2', 's2? s2?', '[a-z] s', '(s2 s2)*', 's2* s2*']),
  )
  const rest = random.pick(['"a"', '[a-z]', '"a" | "aa"', '.', '"(" s ")" | "a"', '[a-z]* "x"?'])
  return { kind: 'grammar', grammar: `root ::= s\ns ::= "a" (${items.join(' | ')})?\ns2 ::= ${rest} | "b" s` }
}

function ambiguousRegex(random: Random): Constraint {
  const core = random.pick(['(a|b)*', '(a*)*', '(a?){200}', '[^x]*', '(\\w+\\s?)*', '(a|aa|aaa)*', '.*'])
  const count = random.pick([5, 12, 14, 30, 200, 4096])
  return { kind: 'regex', regex: `${core}a${random.pick(['(a|b)', '.', '[a-c]', '\\p{L}'])}{${count}}${core}` }
}

function longCounts(random: Random): Constraint {
  const length = () => 1 + random.below(4096)
  const string = {
    type: 'string',
    minLength: length(),
    maxLength: 4096 + length() * 10,
    ...(random.chance(0.3) && { pattern: 'a.*b' }),
  }
  const schema = random.chance(0.5)
    ? string
    : {
        type: 'array',
        minItems: length(),
        maxItems: 4096,
        items: random.chance(0.5) ? string : { type: 'array', minItems: length(), items: {} },
      }
  return { kind: 'json_schema', schema }
}

function manyRules(random: Random): Constraint {
  const count = random.pick([100, 3000, 30_000])
  const rule = (i: number) =>
    `r${i} ::= "${'ab'[i % 2]}" (r${(i * 7 + 1) % count} | r${(i * 3 + 2) % count})? r${(i + 1) % count}? | "x"`
  return { kind: 'grammar', grammar: `root ::= r0\n${times(count, rule).join('\n')}` }
}

function manyValues(random: Random): Constraint {
  const values = times(random.pick([100, 5000, 20_000]), (i) =>
    random.pick([`${'v'.repeat(40)}${i}`, i * 1e9, `${i}é"\\`]),
  )
  return { kind: 'json_schema', schema: { type: 'array', items: { enum: values } } }
}

function deepSchema(random: Random): Constraint {
  const depth = random.pick([10, 30, 300])
  let schema: object = { type: 'string' }
  for (let i = 0; i < depth; i++)
    schema = random.chance(0.5) ? { type: 'array', items: schema } : { type: 'object', properties: { a: schema } }
  return { kind: 'json_schema', schema }
}

function doublingSchema(random: Random): Constraint {
  const count = random.pick([6, 12, 60])
  const keyword = random.pick(['anyOf', 'allOf', 'items'])
  const next = (i: number) => ({ $ref: `#/$defs/d${i + 1}` })
  const one = (i: number) =>
    keyword === 'items'
      ? { type: 'array', items: next(i), prefixItems: [next(i), next(i)], minItems: 2 }
      : { [keyword]: [next(i), random.chance(0.5) ? next(i) : { ...next(i), maxLength: 50 + i }] }
  const defs = Object.fromEntries(times(count, (i) => [`d${i}`, one(i)]))
  return { kind: 'json_schema', schema: { $defs: { ...defs, [`d${count}`]: { type: 'string' } }, $ref: '#/$defs/d0' } }
}

function wideSchema(random: Random): Constraint {
  const count = random.pick([100, 1000, 4900])
  const properties = Object.fromEntries(
    times(count, (i) => [
      `${'p'.repeat(random.below(20))}${i}`,
      { type: random.pick(['string', 'number', 'integer', 'array', 'object']) },
    ]),
  )
  return {
    kind: 'json_schema',
    schema: {
      type: 'object',
      properties,
      additionalProperties: random.chance(0.5),
      required: random.chance(0.5) ? Object.keys(properties) : [],
    },
  }
}

function hostilePattern(random: Random): Constraint {
  const pattern = random.pick([
    '(a+)+$',
    '^(([a-z])+.)+[A-Z]([a-z])+$',
    '(x+x+)+y',
    '(.*a){12}',
    '^(.*?,){11}P',
    '[^"]{0,2000}z',
    '(\\p{L}|\\p{N}){1,60}$',
  ])
  const more = random.chance(0.5) ? { maxLength: 1 + random.below(2048) } : {}
  return {
    kind: 'json_schema',
    schema: { type: 'string', pattern, ...more, ...(random.chance(0.2) && { format: 'email' }) },
  }
}

function manyTools(random: Random): Constraint {
  const tool = (i: number) => {
    const inner = random.pick([wideSchema, longCounts, deepSchema, hostilePattern])(random) as { schema: object }
    return { name: `tool_${i}`, parameters: { type: 'object', properties: { a: inner.schema } } }
  }
  return {
    kind: 'tools',
    tools: times(random.pick([1, 8, 128]), tool),
    calls: random.pick(['allowed', 'required']),
    is_parallel: true,
  }
}
