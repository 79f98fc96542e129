// Sets of code points, and how they are spelled in bytes. Surrogates are in none: no text has them.

import { automatonOf, Budget, minimized } from './automaton.ts'
import { alt, bytesOf, type Expr, seq, span } from './expr.ts'

/** Sorted stretches that neither touch nor overlap, each with both its ends. */
export type CodePoints = readonly (readonly [low: number, high: number])[]

const LAST = 0x10ffff
export const EVERY: CodePoints = [
  [0, 0xd7ff],
  [0xe000, LAST],
]

export function union(...sets: CodePoints[]): CodePoints {
  const sorted = sets.flat().toSorted(([a], [b]) => a - b)
  const joined: [number, number][] = []
  for (const [low, high] of sorted) {
    const last = joined.at(-1)
    if (last && low <= last[1] + 1) last[1] = Math.max(last[1], high)
    else joined.push([low, high])
  }
  return intersection(joined, EVERY)
}

export function intersection(a: CodePoints, b: CodePoints): CodePoints {
  const both: [number, number][] = []
  for (let i = 0, k = 0; i < a.length && k < b.length; ) {
    const low = Math.max(a[i]![0], b[k]![0])
    const high = Math.min(a[i]![1], b[k]![1])
    if (low <= high) both.push([low, high])
    if (a[i]![1] < b[k]![1]) i++
    else k++
  }
  return both
}

export function complement(set: CodePoints): CodePoints {
  const others: [number, number][] = []
  let next = 0
  for (const [low, high] of set) {
    if (low > next) others.push([next, low - 1])
    next = high + 1
  }
  if (next <= LAST) others.push([next, LAST])
  return intersection(others, EVERY)
}

const known = new Map<string, CodePoints>()

/** What a class of JavaScript's regular expressions holds, such as \p{Lu}. Throws a SyntaxError for one that there is not. */
export function ofClass(source: string): CodePoints {
  const before = known.get(source)
  if (before) return before
  const pattern = new RegExp(`^${source}$`, 'u')
  const set: [number, number][] = []
  for (let point = 0; point <= LAST; point++) {
    if (point === 0xd800) point = 0xe000
    if (!pattern.test(String.fromCodePoint(point))) continue
    const last = set.at(-1)
    if (last && last[1] === point - 1) last[1] = point
    else set.push([point, point])
  }
  known.set(source, set)
  return set
}

type Spelling = (set: CodePoints) => Expr

/** The same for the same set: as an automaton of few states, since it may be there many times over. */
function remembering(spelling: Spelling): Spelling {
  const spelled = new Map<string, Expr>()
  return (set) => {
    const key = set.join()
    if (spelled.size >= SPELLED_MAX) spelled.clear()
    if (!spelled.has(key))
      spelled.set(key, { kind: 'automaton', automaton: minimized(automatonOf(spelling(set), new Budget())) })
    return spelled.get(key)!
  }
}

const SPELLED_MAX = 200

/** One of these, in UTF-8. */
export const utf8 = remembering(spellUtf8)

/** One of these as `JSON.stringify` writes it inside a string. */
export const jsonCharacter = remembering(spellJson)

function spellUtf8(set: CodePoints): Expr {
  return alt(set.flatMap(([low, high]) => LENGTHS.flatMap((length) => ofLength(length, low, high))))
}

const LENGTHS = [
  { bytes: 1, from: 0, to: 0x7f, lead: 0 },
  { bytes: 2, from: 0x80, to: 0x7ff, lead: 0xc0 },
  { bytes: 3, from: 0x800, to: 0xffff, lead: 0xe0 },
  { bytes: 4, from: 0x10000, to: LAST, lead: 0xf0 },
]

function ofLength({ bytes, from, to, lead }: (typeof LENGTHS)[number], low: number, high: number): Expr[] {
  if (high < from || low > to) return []
  return spell(bytes, lead, Math.max(low, from), Math.min(high, to))
}

// So many bytes, of which the last have six bits each: a stretch is cut where a byte before those that are free changes.
function spell(bytes: number, lead: number, low: number, high: number): Expr[] {
  if (bytes === 1) return [span(lead + low, lead + high)]
  const unit = 64 ** (bytes - 1)
  const first = Math.floor(low / unit)
  const last = Math.floor(high / unit)
  if (first === last) return rest(bytes, first, lead, low % unit, high % unit)
  const parts: Expr[] = []
  const whole_from = low % unit === 0 ? first : first + 1
  const whole_to = high % unit === unit - 1 ? last : last - 1
  if (whole_from > first) parts.push(...rest(bytes, first, lead, low % unit, unit - 1))
  if (whole_from <= whole_to) {
    const free = Array.from({ length: bytes - 1 }, () => span(0x80, 0xbf))
    parts.push(seq([span(lead + whole_from, lead + whole_to), ...free]))
  }
  if (whole_to < last) parts.push(...rest(bytes, last, lead, 0, high % unit))
  return parts
}

function rest(bytes: number, first: number, lead: number, low: number, high: number): Expr[] {
  return spell(bytes - 1, 0x80, low, high).map((tail) => seq([span(lead + first, lead + first), tail]))
}

const ESCAPES = new Map([
  [0x08, '\\b'],
  [0x09, '\\t'],
  [0x0a, '\\n'],
  [0x0c, '\\f'],
  [0x0d, '\\r'],
  [0x22, '\\"'],
  [0x5c, '\\\\'],
])
const ESCAPED: CodePoints = [
  [0, 0x1f],
  [0x22, 0x22],
  [0x5c, 0x5c],
]
const PLAIN = complement(ESCAPED)

function spellJson(set: CodePoints): Expr {
  const escaped = intersection(set, ESCAPED).flatMap(([low, high]) =>
    Array.from({ length: high - low + 1 }, (_, i) => bytesOf(escapeOf(low + i))),
  )
  return alt([spellUtf8(intersection(set, PLAIN)), ...escaped])
}

function escapeOf(point: number): string {
  return ESCAPES.get(point) ?? `\\u${point.toString(16).padStart(4, '0')}`
}
