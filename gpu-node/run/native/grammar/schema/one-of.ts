// `oneOf` is `anyOf` where no value follows two of its alternatives, which is seen by their types, by the values that they list, or by a
// property that each of them requires.

import { GrammarError } from '../grammar-error.ts'
import type { Schema, Shape, Type } from './shape.ts'

type ShapesOf = (schemas: readonly Schema[]) => Shape[]

export function oneOf(alternatives: readonly Shape[][], shapesOf: ShapesOf): Shape[] {
  for (const [i, shapes] of alternatives.entries())
    for (const others of alternatives.slice(i + 1))
      if (!areDisjoint(shapes, others, (a, b) => differ(a, b) || differByProperty(a, b, shapesOf)))
        throw new GrammarError(
          "'oneOf' can be held where its alternatives differ by type, by value, or in a property that each requires.",
        )
  return alternatives.flat()
}

function areDisjoint(a: Shape[], b: Shape[], isApart: (a: Shape, b: Shape) => boolean): boolean {
  return a.every((one) => b.every((other) => isApart(one, other)))
}

function differ(a: Shape, b: Shape): boolean {
  if (kindsOf(a).isDisjointFrom(kindsOf(b))) return true
  if (a.values === null || b.values === null) return false
  const known = new Set(a.values.map((value) => JSON.stringify(value)))
  return !b.values.some((value) => known.has(JSON.stringify(value)))
}

function differByProperty(a: Shape, b: Shape, shapesOf: ShapesOf): boolean {
  if (![a, b].every(({ types, values }) => values === null && types.size === 1 && types.has('object'))) return false
  return [...a.object.required].some((name) => {
    const [own, other] = [a.object.properties.get(name), b.object.properties.get(name)]
    return own && other && b.object.required.has(name) && areDisjoint(shapesOf(own), shapesOf(other), differ)
  })
}

function kindsOf({ types, values }: Shape): ReadonlySet<Type> {
  return values === null ? types : new Set(values.map(kindOf).filter((kind) => types.has(kind)))
}

function kindOf(value: unknown): Type {
  if (value === null) return 'null'
  if (Array.isArray(value)) return 'array'
  if (typeof value === 'number') return Number.isInteger(value) ? 'integer' : 'number'
  return typeof value as 'string' | 'boolean' | 'object'
}
