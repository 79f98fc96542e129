// Strings as JSON.stringify writes them: with bounds on their code points, patterns and formats, all of which hold together.

import { type Automaton, automatonOf, type Budget, product, reads } from '../automaton.ts'
import { EVERY, jsonCharacter } from '../code-points.ts'
import { alt, bytesOf, type Expr, NOTHING, repeat, rule, seq } from '../expr.ts'
import { GrammarError } from '../grammar-error.ts'
import { regexAutomaton } from '../regex.ts'
import { FORMATS } from './format.ts'

export interface StringBounds {
  minLength: number
  maxLength: number | null
  patterns: readonly string[]
  formats: readonly string[]
}

const CHARACTER = 'character'
const STRING = 'string'
const BLOCK = 'characters'
const BLOCK_LENGTH = 64
const LENGTH_MAX = 65_536
const LENGTH_WITH_PATTERN_MAX = 2048

/** Rules that strings call: any at all, and, for long ones, parts of so many characters: counting goes by blocks, so that a long one needs few states. */
export const STRING_RULES: readonly (readonly [string, Expr])[] = [
  [STRING, seq([bytesOf('"'), repeat(jsonCharacter(EVERY), 0), bytesOf('"')])],
  [CHARACTER, jsonCharacter(EVERY)],
  [BLOCK, repeat(rule(CHARACTER), BLOCK_LENGTH, BLOCK_LENGTH)],
]

const QUOTE = bytesOf('"')

export function stringExpr(bounds: StringBounds, budget: Budget): Expr {
  const { minLength, maxLength, patterns, formats } = bounds
  if (minLength === 0 && maxLength === null && patterns.length + formats.length === 0) return rule(STRING)
  return seq([QUOTE, contentExpr(bounds, budget), QUOTE])
}

function contentExpr(bounds: StringBounds, budget: Budget): Expr {
  const { minLength, maxLength } = bounds
  checkLengths(bounds)
  if (maxLength !== null && maxLength < minLength) return NOTHING
  const automaton = patternAutomaton(bounds, budget)
  if (automaton === null) return counted(minLength, maxLength)
  if (minLength === 0 && maxLength === null) return { kind: 'automaton', automaton }
  const lengths = automatonOf(repeat(jsonCharacter(EVERY), minLength, maxLength), budget)
  return { kind: 'automaton', automaton: product(automaton, lengths, 'both', budget) }
}

function checkLengths({ minLength, maxLength, patterns, formats }: StringBounds): void {
  const most = patterns.length + formats.length > 0 ? LENGTH_WITH_PATTERN_MAX : LENGTH_MAX
  const behind = most === LENGTH_MAX ? '' : ' beside a pattern or format'
  if (minLength > most) throw new GrammarError(`'minLength' can be at most ${most}${behind}.`)
  if ((maxLength ?? 0) > most) throw new GrammarError(`'maxLength' can be at most ${most}${behind}.`)
}

const known = new WeakMap<StringBounds, Automaton | null>()

/** All patterns and formats together; null where there is none. */
function patternAutomaton(bounds: StringBounds, budget: Budget): Automaton | null {
  const before = known.get(bounds)
  if (before !== undefined) return before
  const automaton = makePatternAutomaton(bounds, budget)
  known.set(bounds, automaton)
  return automaton
}

function makePatternAutomaton({ patterns, formats }: StringBounds, budget: Budget): Automaton | null {
  const options = { spell: jsonCharacter }
  const automata = [
    ...patterns.map((pattern) => patternOf(pattern, budget)),
    ...formats.map((format) => regexAutomaton(formatOf(format), { ...options, matches: 'whole' }, budget)),
  ]
  return automata.length === 0 ? null : automata.reduce((left, right) => product(left, right, 'both', budget))
}

function patternOf(pattern: string, budget: Budget): Automaton {
  try {
    return regexAutomaton(pattern, { spell: jsonCharacter, matches: 'somewhere' }, budget)
  } catch (error) {
    if (error instanceof GrammarError) error.message = `'pattern': ${error.message}`
    throw error
  }
}

function formatOf(format: string): string {
  const known = FORMATS.get(format)
  if (known === undefined) throw new GrammarError(`'format' is not supported with the value '${format.slice(0, 50)}'.`)
  return known
}

function counted(min: number, max: number | null): Expr {
  const character = rule(CHARACTER)
  const least = [
    repeat(rule(BLOCK), Math.floor(min / BLOCK_LENGTH), Math.floor(min / BLOCK_LENGTH)),
    repeat(character, min % BLOCK_LENGTH, min % BLOCK_LENGTH),
  ]
  if (max === null) return seq([...least, repeat(jsonCharacter(EVERY), 0)])
  const blocks = Math.floor((max - min) / BLOCK_LENGTH)
  const full = seq([repeat(rule(BLOCK), blocks, blocks), repeat(character, 0, (max - min) % BLOCK_LENGTH)])
  if (blocks === 0) return seq([...least, full])
  const fewer = seq([repeat(rule(BLOCK), 0, blocks - 1), repeat(character, 0, BLOCK_LENGTH - 1)])
  return seq([...least, alt([fewer, full])])
}

/** Whether a text that is given follows the bounds. */
export function isText(value: string, bounds: StringBounds, budget: Budget): boolean {
  const length = [...value].length
  if (length < bounds.minLength || length > (bounds.maxLength ?? length)) return false
  const automaton = patternAutomaton(bounds, budget)
  return automaton === null || reads(automaton, Buffer.from(JSON.stringify(value).slice(1, -1)))
}

/** Any string but these: as JSON writes them, without the quotes. */
export function anyStringBut(values: readonly string[], budget: Budget): Expr {
  const every = repeat(jsonCharacter(EVERY), 0)
  if (values.length === 0) return every
  const literals = values.map((value) => bytesOf(JSON.stringify(value).slice(1, -1)))
  const taken = automatonOf({ kind: 'alt', items: literals }, budget)
  return { kind: 'automaton', automaton: product(automatonOf(every, budget), taken, 'first only', budget) }
}
