// JSON schemas drawn from all that is supported, values that follow them or nearly so, and another's verdict on both.

import { isIPv4, isIPv6 } from 'node:net'
import { Ajv2020 } from 'ajv/dist/2020.js'
import type { Random } from './random.ts'

export interface JsonSchema {
  [keyword: string]: unknown
}

const PATTERNS = ['^[a-c]+$', 'x', '^(?:ab|c)?$', '^\\d{2,4}$', '[^a-z]$', '^.?é', '^["\\\\]?$', '\\s|^$', '^(a|b)*$|c']
const NAMES = ['a', 'b', 'c d', 'é"', 'z'] // in order: values are written so, too

export const FORMATS: Record<string, (text: string) => boolean> = {
  date: isDate,
  time: (text) => /^([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d+)?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$/.test(text),
  'date-time': (text) => text[10] === 'T' && isDate(text.slice(0, 10)) && FORMATS.time!(text.slice(11)),
  duration: (text) => /^P(?=.)(\d+W|(\d+Y)?(\d+M)?(\d+D)?(T(?=\d)(\d+H)?(\d+M)?(\d+S)?)?)$/.test(text),
  email: (text) => text.length < 255 && /^[^\s@"]+@[^\s@.]+(\.[^\s@.]+)+$/.test(text),
  hostname: (text) =>
    text.length < 254 && text.split('.').every((label) => /^(?!-)[a-zA-Z0-9-]{1,63}(?<!-)$/.test(label)),
  ipv4: isIPv4,
  ipv6: isIPv6,
  uuid: (text) => /^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/i.test(text),
}

function isDate(text: string): boolean {
  const date = new Date(`${text}T00:00:00Z`)
  return /^\d{4}-\d\d-\d\d$/.test(text) && !Number.isNaN(date.getTime()) && date.toISOString().startsWith(text)
}

/** Whether values follow a schema, as Ajv sees it. */
export function validator(schema: JsonSchema): (value: unknown) => boolean {
  return new Ajv2020({ strict: false, formats: FORMATS }).compile(schema)
}

/** A schema of any of the supported keywords. Objects say what else they may hold, since that is what a grammar goes by. */
export function drawSchema(random: Random): JsonSchema {
  if (random.chance(0.85)) return draw(random, 3)
  const next = { anyOf: [{ $ref: '#' }, { type: 'null' }] } // each is nested in itself
  const own = draw(random, 2)
  return random.chance(0.5)
    ? { ...objectOf({ a: own, z: next }, ['z']) }
    : { $defs: { 'a/b': own }, type: 'array', maxItems: 2, items: { anyOf: [{ $ref: '#/$defs/a~1b' }, { $ref: '#' }] } }
}

function draw(random: Random, depth: number): JsonSchema {
  const scalars = [drawString, drawString, drawInteger, drawNumber, drawEnum, drawTypes]
  const nested = [drawObject, drawObject, drawArray, drawAnyOf, drawAllOf]
  return random.pick(depth > 0 ? [...scalars, ...nested, ...nested] : scalars)(random, depth - 1)
}

function drawString(random: Random): JsonSchema {
  const minLength = random.below(3)
  return {
    type: 'string',
    ...(random.chance(0.3) && { minLength }),
    ...(random.chance(0.3) && { maxLength: minLength + random.below(4) }),
    ...(random.chance(0.3) && { pattern: random.pick(PATTERNS) }),
    ...(random.chance(0.2) && { format: random.pick(Object.keys(FORMATS)) }),
  }
}

function drawInteger(random: Random): JsonSchema {
  const low = random.below(300) - 150
  return {
    type: 'integer',
    ...(random.chance(0.5) && { [random.pick(['minimum', 'exclusiveMinimum'])]: low + random.pick([0, 0.5]) }),
    ...(random.chance(0.5) && { [random.pick(['maximum', 'exclusiveMaximum'])]: low + random.below(200) }),
    ...(random.chance(0.2) && { multipleOf: 1 + random.below(12) }),
  }
}

function drawNumber(random: Random): JsonSchema {
  const low = (random.below(4000) - 2000) / random.pick([1, 10, 1000])
  return {
    type: 'number',
    ...(random.chance(0.5) && { [random.pick(['minimum', 'exclusiveMinimum'])]: low }),
    ...(random.chance(0.5) && { [random.pick(['maximum', 'exclusiveMaximum'])]: low + random.below(300) / 100 }),
  }
}

const VALUES = ['red', 'r"\n', '', 1, -2.5, 0, true, null, 'é']

function drawEnum(random: Random): JsonSchema {
  if (random.chance(0.3)) return { const: random.pick<unknown>([...VALUES, { a: [1, 'x'] }, []]) }
  const values = [...new Set(Array.from({ length: 1 + random.below(5) }, () => random.pick(VALUES)))]
  return random.chance(0.3) ? { enum: values, type: ['string', 'null'] } : { enum: values }
}

function drawTypes(random: Random): JsonSchema {
  const types = ['boolean', 'null', 'string', 'integer', 'number']
  return {
    type: random.chance(0.5)
      ? random.pick(types)
      : types.filter((type) => type !== 'null' && random.chance(0.5)).concat('null'),
  }
}

function objectOf(properties: Record<string, unknown>, required: string[], additionalProperties: unknown = false) {
  return { type: 'object', properties, required, additionalProperties }
}

function drawObject(random: Random, depth: number): JsonSchema {
  const names = NAMES.filter(() => random.chance(0.5))
  const properties = Object.fromEntries(names.map((name) => [name, draw(random, depth)]))
  const others = random.chance(0.7) ? false : random.pick<unknown>([true, draw(random, 0)])
  return objectOf(
    properties,
    names.filter(() => random.chance(0.6)),
    others,
  )
}

function drawArray(random: Random, depth: number): JsonSchema {
  const minItems = random.below(3)
  return {
    type: 'array',
    ...(random.chance(0.8) && { items: draw(random, depth) }),
    ...(random.chance(0.2) && { prefixItems: [draw(random, 0), draw(random, 0)] }),
    ...(random.chance(0.4) && { minItems }),
    ...(random.chance(0.6) && { maxItems: minItems + random.below(3) }),
  }
}

function drawAnyOf(random: Random, depth: number): JsonSchema {
  return { anyOf: Array.from({ length: 1 + random.below(3) }, () => draw(random, depth)) }
}

function drawAllOf(random: Random): JsonSchema {
  const base = random.pick([drawString, drawInteger, drawNumber, () => drawAnyOf(random, 0)])
  return { allOf: [base(random), base(random)] }
}

/** A value near a schema: often one that follows it, else one that does not for a single reason. */
export function drawValue(random: Random, schema: unknown): unknown {
  if (random.chance(0.06) || typeof schema !== 'object' || schema === null) return drawAny(random, 1)
  const { anyOf, allOf, enum: values, type, $ref, ...rest } = schema as JsonSchema
  if ('const' in rest) return rest.const
  if (Array.isArray(values)) return random.pick(values)
  if (Array.isArray(anyOf)) return drawValue(random, random.pick(anyOf))
  if (Array.isArray(allOf)) return drawValue(random, random.pick(allOf))
  if ($ref !== undefined) return drawAny(random, 1)
  const one = Array.isArray(type) ? random.pick(type) : type
  if (one === 'object') return drawMembers(random, rest)
  if (one === 'array') return drawItems(random, rest)
  return drawScalar(random, one, rest)
}

function drawMembers(random: Random, { properties = {}, additionalProperties }: JsonSchema): unknown {
  const own = properties as Record<string, unknown>
  const names = Object.keys(own).filter(() => random.chance(0.85))
  const others = additionalProperties === false ? [] : NAMES.filter((name) => !(name in own) && random.chance(0.3))
  return Object.fromEntries(
    [...names, ...others].map((name) => [name, drawValue(random, own[name] ?? additionalProperties)]),
  )
}

function drawItems(random: Random, { items, prefixItems = [], minItems = 0 }: JsonSchema): unknown {
  const first = prefixItems as unknown[]
  return Array.from({ length: (minItems as number) + random.below(3) }, (_, i) => drawValue(random, first[i] ?? items))
}

const TEXTS = ['', 'a', 'ab', 'abc', 'x', 'é', '12', '345', '"', '\\', ' ', 'C', 'cab\n', '\u0001', '😀a']
const FORMATTED = [
  ...['2024-02-29', '2023-02-29', '1900-02-29', '2000-12-31', '10:20:30Z', '24:00:00Z', '23:59:59.5+01:00'],
  ...['2024-02-29T10:20:30Z', '2024-02-29 10:20:30Z', 'P1Y2M', 'PT5M', 'P', 'P2W', 'a@b.c', 'a@b', 'localhost'],
  ...[
    '-a',
    'a.b',
    '1.2.3.4',
    '256.1.1.1',
    '::',
    '1::2',
    '1:2:3:4:5:6:7:8',
    '1::2::3',
    '00000000-0000-0000-0000-00000000000A',
  ],
]

function drawScalar(
  random: Random,
  type: unknown,
  { minimum, exclusiveMinimum, maximum, format }: JsonSchema,
): unknown {
  if (type === 'string') return random.pick(format === undefined ? TEXTS : FORMATTED)
  if (type === 'boolean') return random.chance(0.5)
  if (type === 'null') return null
  const near = Number(minimum ?? exclusiveMinimum ?? maximum ?? random.below(200) - 100)
  const step = type === 'integer' ? random.pick([-1, 0, 1, 5]) : random.pick([-0.001, 0, 0.1, 1, -2.25])
  const value = near + step
  return type === 'integer' ? Math.round(value) : Math.round(value * 1000) / 1000
}

function drawAny(random: Random, depth: number): unknown {
  if (depth > 0 && random.chance(0.3))
    return random.chance(0.5) ? [drawAny(random, depth - 1)] : { a: drawAny(random, depth - 1) }
  return random.pick<unknown>([...TEXTS, ...FORMATTED, 0, 1, -7, 2.5, true, false, null])
}

/** As JSON.stringify has it, with a space behind some commas and colons. */
export function writeJson(random: Random, value: unknown): string {
  const space = () => (random.chance(0.3) ? ' ' : '')
  const join = (parts: string[]) => parts.map((part, i) => (i > 0 ? `,${space()}${part}` : part)).join('')
  if (Array.isArray(value)) return `[${join(value.map((item) => writeJson(random, item)))}]`
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  const members = Object.entries(value).map(
    ([name, inner]) => `${JSON.stringify(name)}:${space()}${writeJson(random, inner)}`,
  )
  return `{${join(members)}}`
}
