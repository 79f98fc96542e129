// Numbers as JSON writes them, within bounds. What is written here is exactly what a reader's double makes of it, as far as
// bounds and multiples are concerned: so there are never more digits than a double can tell apart where that matters.

import { type Automaton, automatonOf, type Budget, product, type State, trimmed } from '../automaton.ts'
import { alt, bytesOf, type Expr, NOTHING, optional, repeat, rule, seq, span } from '../expr.ts'
import { GrammarError } from '../grammar-error.ts'

export interface NumberBounds {
  minimum: number | null
  maximum: number | null
  exclusiveMinimum: number | null
  exclusiveMaximum: number | null
  multipleOf: readonly number[]
}

export const NO_BOUNDS: NumberBounds = {
  minimum: null,
  maximum: null,
  exclusiveMinimum: null,
  exclusiveMaximum: null,
  multipleOf: [],
}

const EXACT_DIGITS = 15 // a double tells any two decimals of so many apart
const FREE_DIGITS = 18 // where nothing is compared
const OPEN_DIGITS = 9 // before the point, where one bound is not given
const FRACTION_DIGITS = 6 // behind it, where there are bounds
const MULTIPLE_MAX = 1000

const DIGIT = span(0x30, 0x39)

const INTEGER = 'integer'
const NUMBER = 'number'

/** Rules for any number at all. */
export const NUMBER_RULES: readonly (readonly [string, Expr])[] = [
  [INTEGER, alt([bytesOf('0'), seq([optional(bytesOf('-')), positiveDigits(FREE_DIGITS)])])],
  [NUMBER, freeNumber()],
]

export function integerExpr(bounds: NumberBounds, budget: Budget): Expr {
  if (isFree(bounds)) return rule(INTEGER)
  const digits = bounds.multipleOf.length > 0 ? EXACT_DIGITS : FREE_DIGITS
  return withMultiples(decimals(bounds, 0, digits), bounds.multipleOf, budget)
}

export function numberExpr(bounds: NumberBounds, budget: Budget): Expr {
  if (isFree(bounds)) return rule(NUMBER)
  if (bounds.multipleOf.some((value) => !Number.isInteger(value)))
    throw new GrammarError("'multipleOf' can be held for whole numbers only.")
  if (bounds.multipleOf.length > 0) return integerExpr(bounds, budget)
  const digits = Math.max(OPEN_DIGITS, ...finiteBounds(bounds).map((bound) => wholeDigits(bound)))
  const places = Math.min(FRACTION_DIGITS, Math.max(0, EXACT_DIGITS - digits))
  return alt(Array.from({ length: places + 1 }, (_, j) => decimals(bounds, j, digits)))
}

function isFree(bounds: NumberBounds): boolean {
  return bounds.multipleOf.length === 0 && finiteBounds(bounds).length === 0
}

function finiteBounds({ minimum, maximum, exclusiveMinimum, exclusiveMaximum }: NumberBounds): number[] {
  return [minimum, maximum, exclusiveMinimum, exclusiveMaximum].filter((bound) => bound !== null)
}

function positiveDigits(max: number): Expr {
  return seq([span(0x31, 0x39), repeat(DIGIT, 0, max - 1)])
}

function freeNumber(): Expr {
  const exponent = seq([
    alt([bytesOf('e'), bytesOf('E')]),
    optional(alt([bytesOf('+'), bytesOf('-')])),
    repeat(DIGIT, 1, 2),
  ])
  const whole = alt([bytesOf('0'), positiveDigits(FREE_DIGITS)])
  return seq([
    optional(bytesOf('-')),
    whole,
    optional(seq([bytesOf('.'), repeat(DIGIT, 1, FREE_DIGITS)])),
    optional(exponent),
  ])
}

/** All numbers within bounds that have so many places behind the point, and no more digits than that before it. */
function decimals(bounds: NumberBounds, places: number, digits: number): Expr {
  const largest = 10n ** BigInt(digits + places) - 1n
  const low = max([-largest, ...lowBounds(bounds, places)])
  const high = min([largest, ...highBounds(bounds, places)])
  if (low > high) return NOTHING
  const parts: Expr[] = []
  if (low < 0n) parts.push(seq([bytesOf('-'), digitsBetween(high < 0n ? -high : 1n, -low, places)]))
  if (high >= 0n) parts.push(digitsBetween(low > 0n ? low : 0n, high, places))
  return alt(parts)
}

function lowBounds({ minimum, exclusiveMinimum }: NumberBounds, places: number): bigint[] {
  return [
    ...(minimum === null ? [] : [scaled(minimum, places, 'up')]),
    ...(exclusiveMinimum === null ? [] : [scaled(exclusiveMinimum, places, 'down') + 1n]),
  ]
}

function highBounds({ maximum, exclusiveMaximum }: NumberBounds, places: number): bigint[] {
  return [
    ...(maximum === null ? [] : [scaled(maximum, places, 'down')]),
    ...(exclusiveMaximum === null ? [] : [scaled(exclusiveMaximum, places, 'up') - 1n]),
  ]
}

/** The decimal that a double is written as, times a power of ten, rounded up or down. */
function scaled(value: number, places: number, round: 'up' | 'down'): bigint {
  const { mantissa, exponent } = decimalOf(value)
  const shift = exponent + places
  if (shift >= 0) return mantissa * 10n ** BigInt(shift)
  const unit = 10n ** BigInt(-shift)
  const floor = mantissa / unit - (mantissa < 0n && mantissa % unit !== 0n ? 1n : 0n)
  return round === 'down' || mantissa % unit === 0n ? floor : floor + 1n
}

function decimalOf(value: number): { mantissa: bigint; exponent: number } {
  const [, sign, whole, fraction = '', exponent = '0'] = /^(-?)(\d+)(?:\.(\d+))?(?:e([+-]?\d+))?$/.exec(String(value))!
  return { mantissa: BigInt(`${sign}${whole}${fraction}`), exponent: Number(exponent) - fraction.length }
}

function wholeDigits(value: number): number {
  return String(scaled(Math.abs(value), 0, 'up')).length
}

/** The digits of low to high, both at least 0, with a point before the last `places`. */
function digitsBetween(low: bigint, high: bigint, places: number): Expr {
  const parts: Expr[] = []
  const last = String(high).length
  for (let length = Math.max(places + 1, String(low).length); length <= Math.max(places + 1, last); length++) {
    const least = length === places + 1 ? 0n : 10n ** BigInt(length - 1)
    const from = max([low, least])
    const to = min([high, 10n ** BigInt(length) - 1n])
    if (from <= to)
      parts.push(...ofOneLength(padded(from, length), padded(to, length)).map((part) => withPoint(part, places)))
  }
  return alt(parts)
}

function padded(value: bigint, length: number): string {
  return String(value).padStart(length, '0')
}

type Digits = (readonly [low: number, high: number])[]

/** Digits as lists of stretches, one for each place, that together are all numbers from one to the other. */
function ofOneLength(low: string, high: string): Digits[] {
  if (low.length === 0) return [[]]
  const [first, last] = [Number(low[0]), Number(high[0])]
  const free = (digit: string) => digit.repeat(low.length - 1)
  if (first === last) return ofOneLength(low.slice(1), high.slice(1)).map((rest) => [[first, last], ...rest])
  const parts: Digits[] = []
  const opens = low.slice(1) === free('0')
  const closes = high.slice(1) === free('9')
  if (!opens) parts.push(...ofOneLength(low.slice(1), free('9')).map((rest): Digits => [[first, first], ...rest]))
  const [from, to] = [opens ? first : first + 1, closes ? last : last - 1]
  if (from <= to) parts.push([[from, to], ...Array.from({ length: low.length - 1 }, () => [0, 9] as const)])
  if (!closes) parts.push(...ofOneLength(free('0'), high.slice(1)).map((rest): Digits => [[last, last], ...rest]))
  return parts
}

function withPoint(digits: Digits, places: number): Expr {
  const spans = digits.map(([low, high]) => span(0x30 + low, 0x30 + high))
  if (places === 0) return seq(spans)
  return seq([...spans.slice(0, -places), bytesOf('.'), ...spans.slice(-places)])
}

function withMultiples(expr: Expr, multiples: readonly number[], budget: Budget): Expr {
  const automaton = multiples.reduce<Automaton>(
    (left, multiple) => product(left, multiplesOf(multiple), 'both', budget),
    automatonOf(expr, budget),
  )
  return { kind: 'automaton', automaton }
}

/** Reads digits, perhaps behind a minus, that are a multiple: a state for each remainder. */
function multiplesOf(multiple: number): Automaton {
  if (!Number.isInteger(multiple) || multiple > MULTIPLE_MAX)
    throw new GrammarError(`'multipleOf' can be held for whole numbers up to ${MULTIPLE_MAX} only.`)
  const digits = (remainder: number) =>
    Array.from({ length: 10 }, (_, digit) => ({
      low: 0x30 + digit,
      high: 0x30 + digit,
      target: 2 + ((remainder * 10 + digit) % multiple),
    }))
  const minus = { low: 0x2d, high: 0x2d, target: 1 }
  const states: State[] = [
    { is_final: false, bytes: [minus, ...digits(0)], calls: [] },
    { is_final: false, bytes: digits(0), calls: [] },
  ]
  for (let remainder = 0; remainder < multiple; remainder++)
    states.push({ is_final: remainder === 0, bytes: digits(remainder), calls: [] })
  return trimmed(states)
}

/** Whether a value that is given is within the bounds, as a validator sees it. */
export function isWithin(value: number, bounds: NumberBounds): boolean {
  const { minimum, maximum, exclusiveMinimum, exclusiveMaximum, multipleOf } = bounds
  return (
    (minimum === null || value >= minimum) &&
    (maximum === null || value <= maximum) &&
    (exclusiveMinimum === null || value > exclusiveMinimum) &&
    (exclusiveMaximum === null || value < exclusiveMaximum) &&
    multipleOf.every((multiple) => Number.isInteger(value / multiple))
  )
}

function max(values: bigint[]): bigint {
  return sorted(values).at(-1)!
}

function min(values: bigint[]): bigint {
  return sorted(values)[0]!
}

function sorted(values: bigint[]): bigint[] {
  return values.toSorted((a, b) => (a < b ? -1 : 1))
}
