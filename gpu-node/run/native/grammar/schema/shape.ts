// What all keywords of some schemas together ask of a value, type by type. Schemas that offer alternatives become several of these.

import { GrammarError } from '../grammar-error.ts'
import { NO_BOUNDS, type NumberBounds } from './number.ts'
import type { StringBounds } from './string.ts'

export const TYPES = ['object', 'array', 'string', 'number', 'integer', 'boolean', 'null'] as const
export type Type = (typeof TYPES)[number]

export type Schema = boolean | { readonly [keyword: string]: unknown }

export interface Shape {
  types: ReadonlySet<Type>
  values: readonly unknown[] | null // of enum and const
  number: NumberBounds
  string: StringBounds
  array: { prefix: readonly Schema[][]; items: readonly Schema[]; minItems: number; maxItems: number | null }
  object: {
    properties: ReadonlyMap<string, readonly Schema[]>
    required: ReadonlySet<string>
    additional: readonly Schema[] | null // null where nothing is said of them
  }
}

export const ANYTHING: Shape = {
  types: new Set(TYPES),
  values: null,
  number: NO_BOUNDS,
  string: { minLength: 0, maxLength: null, patterns: [], formats: [] },
  array: { prefix: [], items: [], minItems: 0, maxItems: null },
  object: { properties: new Map(), required: new Set(), additional: null },
}

type Narrow = (shape: Shape, value: unknown, schema: Exclude<Schema, boolean>) => Shape

const ignored: Narrow = (shape) => shape

/** Formats of numbers: their least and their largest, where they have such. */
const NUMBER_FORMATS: ReadonlyMap<string, [number, number] | null> = new Map<string, [number, number] | null>([
  ...[8, 16, 32, 64].flatMap((bits): [string, [number, number]][] => [
    [`int${bits}`, [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1]],
    [`uint${bits}`, [0, 2 ** bits - 1]],
  ]),
  ['uint', [0, 2 ** 64 - 1]],
  ['float', null],
  ['double', null],
])

/** What each keyword adds; those that offer alternatives or refer to others are the compiler's. */
export const keywords: Readonly<Record<string, Narrow>> = {
  type: (shape, value) => ({ ...shape, types: commonTypes(shape.types, typesOf(value)) }),
  enum: (shape, value) => withValues(shape, listOf('enum', value)),
  const: (shape, value) => withValues(shape, [value]),
  minimum: numberBound('minimum', Math.max),
  maximum: numberBound('maximum', Math.min),
  exclusiveMinimum: numberBound('exclusiveMinimum', Math.max),
  exclusiveMaximum: numberBound('exclusiveMaximum', Math.min),
  multipleOf: (shape, value) => {
    if (typeof value !== 'number' || value <= 0) throw new GrammarError("'multipleOf' is to be a number above 0.")
    return { ...shape, number: { ...shape.number, multipleOf: [...shape.number.multipleOf, value] } }
  },
  minLength: (shape, value) =>
    withString(shape, { minLength: Math.max(shape.string.minLength, count('minLength', value)) }),
  maxLength: (shape, value) =>
    withString(shape, { maxLength: least(shape.string.maxLength, count('maxLength', value)) }),
  pattern: (shape, value) => withString(shape, { patterns: [...shape.string.patterns, text('pattern', value)] }),
  format: (shape, value) => {
    const format = text('format', value)
    const bounds = NUMBER_FORMATS.get(format)
    if (bounds === undefined) return withString(shape, { formats: [...shape.string.formats, format] })
    if (bounds === null) return shape
    return keywords.maximum!(keywords.minimum!(shape, bounds[0], {}), bounds[1], {})
  },
  minItems: (shape, value) => withArray(shape, { minItems: Math.max(shape.array.minItems, count('minItems', value)) }),
  maxItems: (shape, value) => withArray(shape, { maxItems: least(shape.array.maxItems, count('maxItems', value)) }),
  items: (shape, value, { prefixItems }) => {
    if (prefixItems === undefined && shape.array.prefix.length === 0)
      return withArray(shape, { items: [...shape.array.items, schemaOf('items', value)] })
    if (prefixItems === undefined || shape.array.items.length > 0)
      throw new GrammarError("'prefixItems' can be held in one schema of an 'allOf' only.")
    return withArray(shape, { items: [schemaOf('items', value)] })
  },
  prefixItems: (shape, value) => {
    if (shape.array.prefix.length > 0 || shape.array.items.length > 1)
      throw new GrammarError("'prefixItems' can be held in one schema of an 'allOf' only.")
    return withArray(shape, { prefix: listOf('prefixItems', value).map((item) => [schemaOf('prefixItems', item)]) })
  },
  properties: (shape, value) => withProperties(shape, entriesOf('properties', value)),
  required: (shape, value) => {
    const names = listOf('required', value).map((name) => text('required', name))
    return withObject(shape, { required: new Set([...shape.object.required, ...names]) })
  },
  additionalProperties: ignored, // it is about the properties beside it: see `withOwnProperties`
  title: ignored,
  description: ignored,
  default: ignored,
  examples: ignored,
  deprecated: ignored,
  readOnly: ignored,
  writeOnly: ignored,
  $comment: ignored,
  $schema: ignored,
  $defs: ignored,
  discriminator: ignored, // it says again what an `oneOf` beside it does
  definitions: ignored,
}

/**
 * Each property of one schema is what the other says of it too: by name, or as one of the others. Two that both name properties
 * keep the order of the first.
 */
export function withOwnProperties(shape: Shape, { properties, additionalProperties }: Exclude<Schema, boolean>): Shape {
  if (additionalProperties === undefined) return shape
  const schema = schemaOf('additionalProperties', additionalProperties)
  const own = new Set(Object.keys((properties as object | undefined) ?? {}))
  const narrowed = [...shape.object.properties].map(
    ([name, schemas]) => [name, own.has(name) ? schemas : [...schemas, schema]] as const,
  )
  return withObject(shape, { properties: new Map(narrowed), additional: [...(shape.object.additional ?? []), schema] })
}

function withProperties(shape: Shape, entries: (readonly [string, Schema])[]): Shape {
  const { properties, additional } = shape.object
  const all = new Map(properties)
  for (const [name, schema] of entries) all.set(name, [...(all.get(name) ?? additional ?? []), schema])
  return withObject(shape, { properties: all })
}

function withString(shape: Shape, more: Partial<StringBounds>): Shape {
  return { ...shape, string: { ...shape.string, ...more } }
}

function withArray(shape: Shape, more: Partial<Shape['array']>): Shape {
  return { ...shape, array: { ...shape.array, ...more } }
}

function withObject(shape: Shape, more: Partial<Shape['object']>): Shape {
  return { ...shape, object: { ...shape.object, ...more } }
}

function numberBound(
  name: 'minimum' | 'maximum' | 'exclusiveMinimum' | 'exclusiveMaximum',
  stricter: (a: number, b: number) => number,
): Narrow {
  return (shape, value) => {
    if (typeof value !== 'number') throw new GrammarError(`'${name}' is to be a number.`)
    const before = shape.number[name]
    return { ...shape, number: { ...shape.number, [name]: before === null ? value : stricter(before, value) } }
  }
}

function commonTypes(a: ReadonlySet<Type>, b: ReadonlySet<Type>): ReadonlySet<Type> {
  return new Set([...a].filter((type) => b.has(type) || (type === 'integer' && b.has('number'))))
}

function typesOf(value: unknown): Set<Type> {
  const names = [value].flat()
  const types = names.filter((name) => TYPES.some((type) => type === name)) as Type[]
  if (names.length === 0 || types.length < names.length)
    throw new GrammarError(`'type' is to be of ${TYPES.join(', ')}.`)
  return new Set(types.includes('number') ? [...types, 'integer'] : types)
}

function withValues(shape: Shape, values: readonly unknown[]): Shape {
  if (shape.values === null) return { ...shape, values }
  const known = new Set(values.map((value) => JSON.stringify(value)))
  return { ...shape, values: shape.values.filter((value) => known.has(JSON.stringify(value))) }
}

const COUNT_MAX = 2 ** 31

function count(name: string, value: unknown): number {
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 0 || value > COUNT_MAX)
    throw new GrammarError(`'${name}' is to be a whole number from 0 on.`)
  return value
}

function least(a: number | null, b: number): number {
  return a === null ? b : Math.min(a, b)
}

function text(name: string, value: unknown): string {
  if (typeof value !== 'string') throw new GrammarError(`'${name}' is to be of strings.`)
  return value
}

export function listOf(name: string, value: unknown): readonly unknown[] {
  if (!Array.isArray(value)) throw new GrammarError(`'${name}' is to be an array.`)
  return value
}

export function schemaOf(name: string, value: unknown): Schema {
  if (typeof value === 'boolean' || (typeof value === 'object' && value !== null && !Array.isArray(value)))
    return value as Schema
  throw new GrammarError(`'${name}' is to be a schema.`)
}

function entriesOf(name: string, value: unknown): (readonly [string, Schema])[] {
  const schema = schemaOf(name, value)
  if (typeof schema === 'boolean') throw new GrammarError(`'${name}' is to be an object.`)
  return Object.entries(schema).map(([key, inner]) => [key, schemaOf(name, inner)] as const)
}
