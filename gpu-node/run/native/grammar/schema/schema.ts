// JSON Schema as rules: every text that they read is a value that follows the schema. What a keyword asks for is held in full or
// refused by its name; none is passed over. Values are written as JSON.stringify writes them, with one space or none behind each
// comma and colon; properties come in the order in which the schema names them.

import type { Budget } from '../automaton.ts'
import { alt, bytesOf, EMPTY, type Expr, NOTHING, optional, type Rules, repeat, rule, seq } from '../expr.ts'
import { GrammarError } from '../grammar-error.ts'
import { integerExpr, isWithin, NUMBER_RULES, numberExpr } from './number.ts'
import { oneOf } from './one-of.ts'
import { ANYTHING, keywords, listOf, type Schema, type Shape, schemaOf, type Type, withOwnProperties } from './shape.ts'
import { anyStringBut, isText, STRING_RULES, stringExpr } from './string.ts'

export const SCHEMA_ROOT = 'root'

const ALTERNATIVES_MAX = 512
const PROPERTIES_MAX = 5000 // of all objects together
const VALUES_MAX = 5000 // of all enums
const VALUES_LENGTH_MAX = 250_000
const ITEMS_MAX = 4096
const SMALL_OBJECT = 8 // properties; a larger one is put together from rules
const NARROWING_WORK = 50 // of one schema on one shape, as the budget counts

const SPACE = optional(bytesOf(' '))
const COMMA = seq([bytesOf(','), SPACE])
const COLON = seq([bytesOf(':'), SPACE])
const SCALARS: ReadonlySet<Type> = new Set(['string', 'number', 'integer', 'boolean', 'null'])

interface SchemaOptions {
  /** What the names of its rules begin with, where others stand beside them. */
  prefix?: string
  /** Its values are objects, whatever it says of that. */
  is_object?: boolean
}

export function schemaRules(
  schema: unknown,
  budget: Budget,
  { prefix = '', is_object = false }: SchemaOptions = {},
): Rules {
  return new SchemaCompiler(schemaOf('schema', schema), budget, prefix).compile(is_object ? [OBJECT] : [])
}

const OBJECT: Schema = { type: 'object' }

class SchemaCompiler {
  readonly #root: Schema
  readonly #budget: Budget
  readonly #prefix: string
  readonly #rules = new Map<string, Expr>([...STRING_RULES, ...NUMBER_RULES])
  readonly #numbers = new Map<Schema, number>()
  #properties = 0
  #values = 0
  #values_length = 0

  constructor(root: Schema, budget: Budget, prefix: string) {
    this.#root = root
    this.#budget = budget
    this.#prefix = prefix
  }

  /** What follows the schema, and these as well. */
  compile(more: readonly Schema[]): Rules {
    const root = this.#valueOf([...more, this.#root])
    return new Map([...this.#rules, [this.#prefix + SCHEMA_ROOT, root]])
  }

  /** A value that follows all of these. One that may be nested is a rule of its own, which others refer to. */
  #valueOf(schemas: readonly Schema[]): Expr {
    const shapes = this.#shapesOf(schemas)
    if (shapes.every(({ types, values }) => values !== null || [...types].every((type) => SCALARS.has(type))))
      return alt(shapes.map((shape) => this.#shapeExpr(shape)))
    const name = this.#nameOf(schemas)
    if (!this.#rules.has(name)) {
      this.#rules.set(name, NOTHING) // it may refer to itself
      this.#rules.set(name, alt(shapes.map((shape) => this.#shapeExpr(shape))))
    }
    return rule(name)
  }

  // Schemas that are equal but stand in two places are two: they may be parts of what is merged elsewhere.
  #nameOf(schemas: readonly Schema[]): string {
    const numbers = schemas
      .filter((schema) => schema !== true)
      .map((schema) => {
        if (!this.#numbers.has(schema)) this.#numbers.set(schema, this.#numbers.size)
        return this.#numbers.get(schema)!
      })
    return `${this.#prefix}value ${[...new Set(numbers)].sort((a, b) => a - b).join('+')}`
  }

  #shapesOf(schemas: readonly Schema[]): Shape[] {
    let shapes = [ANYTHING]
    for (const schema of new Set(schemas)) shapes = this.#narrow(shapes, schema, new Set())
    return shapes.filter(({ types, values }) => types.size > 0 && values?.length !== 0)
  }

  // `open` are the schemas that are being taken in, each by way of the one before.
  #narrow(shapes: Shape[], schema: Schema, open: ReadonlySet<Schema>): Shape[] {
    if (schema === true) return shapes
    if (schema === false) return []
    if (open.has(schema)) throw new GrammarError("'$ref' refers to itself without anything between.")
    this.#budget.work((shapes.length + 1) * NARROWING_WORK)
    const within = new Set([...open, schema])
    let narrowed = shapes
    for (const [keyword, value] of Object.entries(schema)) {
      const narrow = Object.hasOwn(keywords, keyword) ? keywords[keyword] : undefined
      if (narrow) narrowed = narrowed.map((shape) => narrow(shape, value, schema))
      else narrowed = this.#combine(narrowed, keyword, value, within)
      if (narrowed.length > ALTERNATIVES_MAX)
        throw new GrammarError(`'${keyword}' gives more than ${ALTERNATIVES_MAX} alternatives together.`)
    }
    return narrowed.map((shape) => withOwnProperties(shape, schema))
  }

  #combine(shapes: Shape[], keyword: string, value: unknown, open: ReadonlySet<Schema>): Shape[] {
    const narrow = (schema: Schema) => this.#narrow(shapes, schema, open)
    if (keyword === '$ref') return narrow(this.#resolve(value))
    if (keyword === 'anyOf') return listOf(keyword, value).flatMap((item) => narrow(schemaOf(keyword, item)))
    if (keyword === 'oneOf')
      return oneOf(
        listOf(keyword, value).map((item) => narrow(schemaOf(keyword, item))),
        (schemas) => this.#shapesOf(schemas),
      )
    if (keyword === 'allOf')
      return listOf(keyword, value).reduce<Shape[]>(
        (all, item) => this.#narrow(all, schemaOf(keyword, item), open),
        shapes,
      )
    throw new GrammarError(`The keyword '${keyword.slice(0, 50)}' is not supported in a schema.`)
  }

  #resolve(reference: unknown): Schema {
    if (typeof reference !== 'string' || !/^#(?:\/|$)/.test(reference))
      throw new GrammarError("'$ref' can be held where it refers to a part of the same schema: '#/…'.")
    const path = reference.slice(1).split('/').slice(1)
    const target = path.reduce<unknown>((at, part) => memberOf(at, part), this.#root)
    if (target === undefined)
      throw new GrammarError(`'$ref' refers to what is not there: '${reference.slice(0, 100)}'.`)
    return schemaOf('$ref', target)
  }

  #shapeExpr(shape: Shape): Expr {
    if (shape.values !== null) return alt(this.#valuesOf(shape, shape.values).map((value) => this.#literal(value)))
    const kinds = [...shape.types].filter((type) => type !== 'integer' || !shape.types.has('number'))
    return alt(kinds.map((type) => this.#typeExpr(type, shape)))
  }

  #typeExpr(type: Type, shape: Shape): Expr {
    switch (type) {
      case 'null':
        return bytesOf('null')
      case 'boolean':
        return alt([bytesOf('true'), bytesOf('false')])
      case 'string':
        return stringExpr(shape.string, this.#budget)
      case 'integer':
        return integerExpr(shape.number, this.#budget)
      case 'number':
        return numberExpr(shape.number, this.#budget)
      case 'array':
        return this.#arrayExpr(shape.array)
      case 'object':
        return this.#objectExpr(shape.object)
    }
  }

  // Of the values that are listed, those that follow the other keywords.
  #valuesOf(shape: Shape, values: readonly unknown[]): readonly unknown[] {
    this.#values += values.length
    if (this.#values > VALUES_MAX) throw new GrammarError(`'enum' has more than ${VALUES_MAX} values together.`)
    return values.filter((value) => this.#follows(value, shape))
  }

  #follows(value: unknown, { types, number, string, array, object }: Shape): boolean {
    if (value === null) return types.has('null')
    if (typeof value === 'boolean') return types.has('boolean')
    if (typeof value === 'string') return types.has('string') && isText(value, string, this.#budget)
    if (typeof value === 'number') {
      const is_taken = types.has('number') || (types.has('integer') && Number.isInteger(value))
      return is_taken && isWithin(value, number)
    }
    const { array: any_array, object: any_object } = ANYTHING
    if (Array.isArray(value) ? array !== any_array : object !== any_object)
      throw new GrammarError("'enum' and 'const' with arrays or objects cannot be held beside keywords about those.")
    return types.has(Array.isArray(value) ? 'array' : 'object')
  }

  #literal(value: unknown): Expr {
    if (Array.isArray(value))
      return bracketed(
        '[',
        value.map((item) => this.#literal(item)),
        ']',
      )
    if (typeof value === 'object' && value !== null) {
      const pairs = Object.entries(value).map(([name, inner]) => pairExpr(jsonOf(name), this.#literal(inner)))
      return bracketed('{', pairs, '}')
    }
    const text = JSON.stringify(value)
    this.#values_length += text.length
    if (this.#values_length > VALUES_LENGTH_MAX)
      throw new GrammarError(`'enum' has more than ${VALUES_LENGTH_MAX} characters together.`)
    return bytesOf(text)
  }

  #arrayExpr({ prefix, items, minItems, maxItems }: Shape['array']): Expr {
    if (minItems > ITEMS_MAX || prefix.length > ITEMS_MAX)
      throw new GrammarError(`'minItems' can be at most ${ITEMS_MAX}.`)
    if (maxItems !== null && maxItems > ITEMS_MAX) throw new GrammarError(`'maxItems' can be at most ${ITEMS_MAX}.`)
    if (maxItems !== null && maxItems < minItems) return NOTHING
    const item = this.#itemOf(items)
    const head = prefix.slice(0, maxItems ?? prefix.length).map((schemas) => this.#itemOf(schemas))
    const behind = (count: number) => (count > 0 ? COMMA : EMPTY)
    const rest = restOf(item, head.length, { minItems, maxItems }, behind)
    const elements = head.reduceRight((later, element, i) => {
      const here = seq([behind(i), element, later])
      return i < minItems ? here : optional(here)
    }, rest)
    return seq([bytesOf('['), elements, bytesOf(']')])
  }

  // An item is there many times over, so that it is a rule where it is not small.
  #itemOf(schemas: readonly Schema[]): Expr {
    const value = this.#valueOf(schemas)
    if (value.kind === 'rule') return value
    const name = `item ${this.#nameOf(schemas)}`
    this.#rules.set(name, value)
    return rule(name)
  }

  #objectExpr({ properties, required, additional }: Shape['object']): Expr {
    const more = [...required].filter((name) => !properties.has(name))
    const others = additional ?? (properties.size === 0 && more.length === 0 ? [true] : null)
    const named = [...properties, ...more.map((name) => [name, others ?? [true]] as const)]
    this.#properties += named.length
    if (this.#properties > PROPERTIES_MAX)
      throw new GrammarError(`'properties' are more than ${PROPERTIES_MAX} together.`)
    const pairs = named.map(([name, schemas]) => ({
      pair: pairExpr(jsonOf(name), this.#valueOf(schemas)),
      is_required: required.has(name),
    }))
    const names = named.map(([name]) => name)
    const is_closed = others === null || others.includes(false)
    return seq([bytesOf('{'), this.#members(pairs, is_closed ? null : this.#otherPair(names, others)), bytesOf('}')])
  }

  // A name comes once: one that has a schema of its own is not among the others.
  #otherPair(names: readonly string[], schemas: readonly Schema[]): Expr {
    const key = seq([bytesOf('"'), anyStringBut(names, this.#budget), bytesOf('"')])
    return pairExpr(key, this.#valueOf(schemas))
  }

  /** Pairs in order, each of those that are not required perhaps left out, and any number of others behind them. */
  #members(pairs: readonly { pair: Expr; is_required: boolean }[], other: Expr | null): Expr {
    const others = other ? [repeat(seq([COMMA, other]), 0)] : []
    const behind = pairs.map(({ pair, is_required }) => {
      const later = seq([COMMA, pair])
      return is_required ? later : optional(later)
    })
    const first_required = pairs.findIndex(({ is_required }) => is_required)
    if (first_required >= 0) {
      const before = pairs.slice(0, first_required).map(({ pair }) => optional(seq([pair, COMMA])))
      return seq([...before, pairs[first_required]!.pair, ...behind.slice(first_required + 1), ...others])
    }
    const tails = this.#tails(behind, seq(others))
    const begun = pairs.map(({ pair }, i) => seq([pair, tails[i + 1]!]))
    if (other) begun.push(seq([other, ...others]))
    return optional(alt(begun))
  }

  /** What may follow behind so many pairs. Where there are many, each is a rule that goes on with the next. */
  #tails(behind: readonly Expr[], others: Expr): Expr[] {
    if (behind.length <= SMALL_OBJECT)
      return [...behind.keys(), behind.length].map((i) => seq([...behind.slice(i), others]))
    const at = this.#rules.size
    const tails: Expr[] = [others]
    for (let i = behind.length - 1; i >= 0; i--) {
      const name = `${this.#prefix}pairs ${at}.${i}`
      this.#rules.set(name, seq([behind[i]!, tails[0]!]))
      tails.unshift(rule(name))
    }
    return tails
  }
}

function restOf(
  item: Expr,
  before: number,
  { minItems, maxItems }: Pick<Shape['array'], 'minItems' | 'maxItems'>,
  behind: (count: number) => Expr,
): Expr {
  const min = Math.max(0, minItems - before)
  const max = maxItems === null ? null : maxItems - before
  if (max === 0) return EMPTY
  const more = (least: number) => repeat(seq([COMMA, item]), least, max === null ? null : max - 1)
  const some = seq([behind(before), item, more(Math.max(0, min - 1))])
  return min === 0 ? optional(some) : some
}

function bracketed(open: string, items: readonly Expr[], close: string): Expr {
  return seq([bytesOf(open), ...items.flatMap((item, i) => (i > 0 ? [COMMA, item] : [item])), bytesOf(close)])
}

function pairExpr(key: Expr, value: Expr): Expr {
  return seq([key, COLON, value])
}

function jsonOf(text: string): Expr {
  return bytesOf(JSON.stringify(text))
}

function memberOf(value: unknown, part: string): unknown {
  let name: string
  try {
    name = decodeURIComponent(part).replaceAll('~1', '/').replaceAll('~0', '~')
  } catch {
    return undefined
  }
  if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name)) return undefined
  return (value as Record<string, unknown>)[name]
}
