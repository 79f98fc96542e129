// Regular expressions as ECMAScript writes them, as far as they are regular: no look-around, no back-references, no word
// boundaries. A lazy quantifier is as good as a greedy one, since what is asked is only whether a text matches.

import { type Automaton, automatonOf, type Budget } from './automaton.ts'
import { type CodePoints, complement, EVERY, ofClass, union } from './code-points.ts'
import { alt, EMPTY, type Expr, repeat, seq } from './expr.ts'
import { GrammarError } from './grammar-error.ts'

export interface RegexOptions {
  /** How one of these code points is written. */
  spell: (set: CodePoints) => Expr
  /** All of the text, or anywhere in it. */
  matches: 'whole' | 'somewhere'
}

const REPETITIONS_MAX = 4096
const DEPTH_MAX = 100
const PROPERTY_WORK = 20_000 // every code point is asked

export function regexAutomaton(source: string, { spell, matches }: RegexOptions, budget: Budget): Automaton {
  const expr = new RegexParser(source, spell, budget).parse()
  const anything = repeat(spell(EVERY), 0)
  return automatonOf(matches === 'whole' ? expr : seq([anything, expr, anything]), budget)
}

const LINE_ENDS: CodePoints = [
  [0x0a, 0x0a],
  [0x0d, 0x0d],
  [0x2028, 0x2029],
]
const CONTROLS: Record<string, number> = { t: 9, n: 10, v: 11, f: 12, r: 13, 0: 0 }

const one = (point: number): CodePoints => union([[point, point]])

class RegexParser {
  readonly #source: string
  readonly #spell: RegexOptions['spell']
  readonly #budget: Budget
  #at = 0
  #depth = 0

  constructor(source: string, spell: RegexOptions['spell'], budget: Budget) {
    this.#source = source
    this.#spell = spell
    this.#budget = budget
  }

  parse(): Expr {
    const expr = this.#alternatives()
    if (this.#at < this.#source.length) throw this.#wrong('it has a ) too many')
    return expr
  }

  #alternatives(): Expr {
    if (++this.#depth > DEPTH_MAX) throw this.#wrong('it is nested too deeply')
    const items = [this.#sequence()]
    while (this.#take('|')) items.push(this.#sequence())
    this.#depth--
    return alt(items)
  }

  #sequence(): Expr {
    const items: Expr[] = []
    while (this.#at < this.#source.length && !this.#is('|') && !this.#is(')')) items.push(this.#quantified())
    return items.length === 0 ? EMPTY : seq(items)
  }

  #quantified(): Expr {
    let item = this.#atom()
    for (let bounds = this.#quantifier(); bounds; bounds = this.#quantifier()) {
      const [min, max] = bounds
      if (min > REPETITIONS_MAX || (max ?? 0) > REPETITIONS_MAX)
        throw this.#wrong(`it repeats more than ${REPETITIONS_MAX} times`)
      if (max !== null && max < min) throw this.#wrong('the bounds of a repetition are out of order')
      item = repeat(item, min, max)
    }
    return item
  }

  #quantifier(): [min: number, max: number | null] | null {
    const found = /^(?:[*+?]|\{\d{1,9}(?:,\d{0,9})?\})/.exec(this.#source.slice(this.#at, this.#at + 24))?.[0]
    if (found === undefined) return null
    this.#at += found.length
    this.#take('?')
    if (found === '*') return [0, null]
    if (found === '+') return [1, null]
    if (found === '?') return [0, 1]
    const [min, max = min] = found.slice(1, -1).split(',')
    return [Number(min), max === '' ? null : Number(max)]
  }

  #atom(): Expr {
    if (this.#take('(')) return this.#group()
    if (this.#take('^')) return { kind: 'assertion', at: 'start' }
    if (this.#take('$')) return { kind: 'assertion', at: 'end' }
    if (this.#take('.')) return this.#spell(complement(LINE_ENDS))
    if (this.#take('[')) return this.#spell(this.#class())
    if (this.#take('\\')) return this.#spell(this.#escape(false))
    if ('*+?'.includes(this.#source[this.#at]!)) throw this.#wrong('there is nothing to repeat')
    return this.#spell(one(this.#point()))
  }

  #group(): Expr {
    if (this.#take('?')) {
      if (/^<[^=!]/.test(this.#source.slice(this.#at, this.#at + 2))) this.#at = this.#source.indexOf('>', this.#at) + 1
      else if (!this.#take(':')) throw this.#wrong('look-around and flags in groups are not supported')
      if (this.#at === 0) throw this.#wrong('the name of a group has no end')
    }
    const inner = this.#alternatives()
    if (!this.#take(')')) throw this.#wrong('a ( is not closed')
    return inner
  }

  #class(): CodePoints {
    const is_negated = this.#take('^')
    const sets: CodePoints[] = []
    while (!this.#take(']')) {
      if (this.#at >= this.#source.length) throw this.#wrong('a [ is not closed')
      const low = this.#member()
      const is_range = this.#is('-') && this.#source[this.#at + 1] !== ']' && this.#at + 1 < this.#source.length
      if (!is_range) {
        sets.push(low)
        continue
      }
      this.#at++
      sets.push(this.#range(low, this.#member()))
    }
    return is_negated ? complement(union(...sets)) : union(...sets)
  }

  #range(low: CodePoints, high: CodePoints): CodePoints {
    if (!isOne(low) || !isOne(high)) throw this.#wrong('a range needs characters at both ends')
    const [from, to] = [low[0]![0], high[0]![0]]
    if (from > to) throw this.#wrong('a range is out of order')
    return union([[from, to]])
  }

  #member(): CodePoints {
    return this.#take('\\') ? this.#escape(true) : one(this.#point())
  }

  #escape(in_class: boolean): CodePoints {
    const letter = this.#source[this.#at]
    if (letter === undefined) throw this.#wrong('it ends with a \\')
    this.#at++
    if ('dDwWsS'.includes(letter)) return ofClass(`\\${letter}`)
    if (letter === 'p' || letter === 'P') return this.#property(letter)
    if (letter === 'b' && in_class) return one(8)
    if (letter === '0' && /\d/.test(this.#source[this.#at] ?? '')) throw this.#wrong('octal escapes are not supported')
    if (letter in CONTROLS) return one(CONTROLS[letter]!)
    if (letter === 'x') return one(this.#hex(/^[\da-fA-F]{2}/))
    if (letter === 'u') return one(this.#unicode())
    if (letter === 'c') return one(this.#control())
    if (letter === 'b' || letter === 'B') throw this.#wrong('word boundaries (\\b) are not supported')
    if (/[1-9k]/.test(letter)) throw this.#wrong('back-references are not supported')
    if (/[a-zA-Z]/.test(letter)) throw this.#wrong(`\\${letter} is not known`)
    this.#at--
    return one(this.#point())
  }

  #property(letter: string): CodePoints {
    const name = /^\{[\w=]{1,60}\}/.exec(this.#source.slice(this.#at, this.#at + 64))?.[0]
    if (name === undefined) throw this.#wrong(`\\${letter} needs the name of a property`)
    this.#at += name.length
    this.#budget.work(PROPERTY_WORK)
    try {
      return ofClass(`\\${letter}${name}`)
    } catch {
      throw this.#wrong(`\\${letter}${name} is not known`)
    }
  }

  #unicode(): number {
    if (this.#is('{')) {
      const braced = /^\{([\da-fA-F]{1,6})\}/.exec(this.#source.slice(this.#at, this.#at + 8))
      if (!braced || Number.parseInt(braced[1]!, 16) > 0x10ffff) throw this.#wrong('a \\u is not complete')
      this.#at += braced[0].length
      return Number.parseInt(braced[1]!, 16)
    }
    const high = this.#hex(/^[\da-fA-F]{4}/)
    const low = /^\\u([dD][c-fC-F][\da-fA-F]{2})/.exec(this.#source.slice(this.#at, this.#at + 6))
    if (high < 0xd800 || high > 0xdbff || !low) return high
    this.#at += 6
    return 0x10000 + (high - 0xd800) * 0x400 + (Number.parseInt(low[1]!, 16) - 0xdc00)
  }

  #hex(digits: RegExp): number {
    const found = digits.exec(this.#source.slice(this.#at, this.#at + 4))?.[0]
    if (found === undefined) throw this.#wrong('an escape is not complete')
    this.#at += found.length
    return Number.parseInt(found, 16)
  }

  #control(): number {
    const letter = this.#source[this.#at] ?? ''
    if (!/[a-zA-Z]/.test(letter)) throw this.#wrong('a \\c is not complete')
    this.#at++
    return letter.charCodeAt(0) % 32
  }

  #point(): number {
    const point = this.#source.codePointAt(this.#at)!
    this.#at += point > 0xffff ? 2 : 1
    return point
  }

  #is(text: string): boolean {
    return this.#source[this.#at] === text
  }

  #take(text: string): boolean {
    const is_there = this.#is(text)
    if (is_there) this.#at++
    return is_there
  }

  #wrong(why: string): GrammarError {
    return new GrammarError(`The regular expression cannot be used: ${why} (at ${this.#at}).`)
  }
}

function isOne(set: CodePoints): boolean {
  return set.length === 1 && set[0]![0] === set[0]![1]
}
