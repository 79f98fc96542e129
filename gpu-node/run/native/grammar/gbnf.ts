// Grammars in the notation of llama.cpp (GBNF): rules of literals, classes, groups and repetitions, beginning at `root`.

import { type CodePoints, complement, EVERY, union, utf8 } from './code-points.ts'
import { alt, bytesOf, EMPTY, type Expr, type Rules, repeat, rule, seq } from './expr.ts'
import { GrammarError } from './grammar-error.ts'

export const GBNF_ROOT = 'root'

const REPETITIONS_MAX = 4096
const DEPTH_MAX = 100
const ESCAPES: Record<string, string> = { n: '\n', r: '\r', t: '\t', '\\': '\\', '"': '"', '[': '[', ']': ']' }
const HEX_DIGITS: Record<string, number> = { x: 2, u: 4, U: 8 }

export function gbnfRules(source: string): Rules {
  const rules = new GbnfParser(source).parse()
  if (!rules.has(GBNF_ROOT)) throw new GrammarError("The grammar has no rule 'root'.")
  return rules
}

class GbnfParser {
  readonly #source: string
  readonly #rules = new Map<string, Expr>()
  #at = 0
  #depth = 0

  constructor(source: string) {
    this.#source = source
  }

  parse(): Rules {
    this.#skip(true)
    while (this.#at < this.#source.length) {
      const name = this.#name()
      this.#skip(false)
      if (!this.#take('::=')) throw this.#wrong("'::=' is expected")
      this.#skip(true)
      if (this.#rules.has(name)) throw this.#wrong(`the rule '${name}' is there twice`)
      this.#rules.set(name, this.#alternatives(false))
      this.#skip(true)
    }
    return this.#rules
  }

  #alternatives(in_group: boolean): Expr {
    if (++this.#depth > DEPTH_MAX) throw this.#wrong('it is nested too deeply')
    const items = [this.#sequence(in_group)]
    while (this.#take('|')) {
      this.#skip(true)
      items.push(this.#sequence(in_group))
    }
    this.#depth--
    return alt(items)
  }

  #sequence(in_group: boolean): Expr {
    const items: Expr[] = []
    for (let item = this.#item(); item; item = this.#item()) {
      items.push(this.#repeated(item))
      this.#skip(in_group)
    }
    return items.length === 0 ? EMPTY : seq(items)
  }

  #item(): Expr | null {
    if (this.#take('"')) return this.#literal()
    if (this.#take('[')) return utf8(this.#class())
    if (this.#take('.')) return utf8(EVERY)
    if (this.#take('(')) return this.#group()
    return /[\w-]/.test(this.#source[this.#at] ?? '') ? rule(this.#name()) : null
  }

  #group(): Expr {
    this.#skip(true)
    const inner = this.#alternatives(true)
    if (!this.#take(')')) throw this.#wrong('a ( is not closed')
    return inner
  }

  #repeated(item: Expr): Expr {
    this.#skip(false)
    const found = /^(?:[*+?]|\{\d{1,9}(?:,\d{0,9})?\})/.exec(this.#source.slice(this.#at, this.#at + 24))?.[0]
    if (found === undefined) return item
    this.#at += found.length
    if (found === '*') return this.#repeated(repeat(item, 0))
    if (found === '+') return this.#repeated(repeat(item, 1))
    if (found === '?') return this.#repeated(repeat(item, 0, 1))
    const [min, max = min] = found.slice(1, -1).split(',')
    const [least, most] = [Number(min), max === '' ? null : Number(max)]
    if (least > REPETITIONS_MAX || (most ?? 0) > REPETITIONS_MAX || (most !== null && most < least))
      throw this.#wrong(`a repetition's bounds are out of order or above ${REPETITIONS_MAX}`)
    return this.#repeated(repeat(item, least, most))
  }

  #literal(): Expr {
    let text = ''
    while (!this.#take('"')) text += String.fromCodePoint(this.#character())
    return text === '' ? EMPTY : bytesOf(text)
  }

  #class(): CodePoints {
    const is_negated = this.#take('^')
    const ranges: [number, number][] = []
    while (!this.#take(']')) {
      const low = this.#character()
      const is_range = this.#source[this.#at] === '-' && this.#source[this.#at + 1] !== ']'
      if (is_range) this.#at++
      const high = is_range ? this.#character() : low
      if (high < low) throw this.#wrong('a range is out of order')
      ranges.push([low, high])
    }
    return is_negated ? complement(union(ranges)) : union(ranges)
  }

  #character(): number {
    const point = this.#source.codePointAt(this.#at)
    if (point === undefined || point === 0x0a) throw this.#wrong('a literal or class is not closed')
    this.#at += point > 0xffff ? 2 : 1
    return point === 0x5c ? this.#escape() : point
  }

  #escape(): number {
    const letter = this.#source[this.#at++] ?? ''
    if (letter in ESCAPES) return ESCAPES[letter]!.charCodeAt(0)
    const length = HEX_DIGITS[letter]
    const digits = this.#source.slice(this.#at, this.#at + (length ?? 0))
    const point = Number.parseInt(digits, 16)
    const is_whole = length !== undefined && digits.length === length && /^[\da-fA-F]+$/.test(digits)
    if (!is_whole || point > 0x10ffff || (point >= 0xd800 && point < 0xe000))
      throw this.#wrong(`\\${letter} is not known, or not complete`)
    this.#at += length
    return point
  }

  #name(): string {
    const name = /^[\w-]{1,200}/.exec(this.#source.slice(this.#at, this.#at + 200))?.[0]
    if (name === undefined) throw this.#wrong('the name of a rule is expected')
    this.#at += name.length
    return name
  }

  /** White space and comments; a line's end is one only where a rule goes on behind it. */
  #skip(with_lines: boolean): void {
    const space = with_lines ? /[ \t\r\n]/ : /[ \t]/
    for (;;) {
      while (space.test(this.#source[this.#at] ?? '')) this.#at++
      if (this.#source[this.#at] !== '#') return
      const end = this.#source.indexOf('\n', this.#at)
      this.#at = end < 0 ? this.#source.length : end
    }
  }

  #take(text: string): boolean {
    const is_there = this.#source.startsWith(text, this.#at)
    if (is_there) this.#at += text.length
    return is_there
  }

  #wrong(why: string): GrammarError {
    const line = this.#source.slice(0, this.#at).split('\n').length
    return new GrammarError(`The grammar cannot be used: ${why} (in line ${line}).`)
  }
}
