// A grammar as it is written down: what one rule may be, of bytes and other rules.

import type { Automaton } from './automaton.ts'

export type Expr =
  | { kind: 'span'; low: number; high: number } // one byte
  | { kind: 'seq'; items: readonly Expr[] }
  | { kind: 'alt'; items: readonly Expr[] } // nothing at all where it has no items
  | { kind: 'repeat'; item: Expr; min: number; max: number | null }
  | { kind: 'rule'; name: string }
  | { kind: 'automaton'; automaton: Automaton }
  | { kind: 'assertion'; at: 'start' | 'end' } // of the text; only where a text is searched

/** Rules by name. */
export type Rules = ReadonlyMap<string, Expr>

export const NOTHING: Expr = { kind: 'alt', items: [] }
export const EMPTY: Expr = { kind: 'seq', items: [] }

export function span(low: number, high: number): Expr {
  return { kind: 'span', low, high }
}

export function seq(items: readonly Expr[]): Expr {
  return items.length === 1 ? items[0]! : { kind: 'seq', items }
}

export function alt(items: readonly Expr[]): Expr {
  return items.length === 1 ? items[0]! : { kind: 'alt', items }
}

export function optional(item: Expr): Expr {
  return { kind: 'repeat', item, min: 0, max: 1 }
}

export function repeat(item: Expr, min: number, max: number | null = null): Expr {
  return { kind: 'repeat', item, min, max }
}

export function rule(name: string): Expr {
  return { kind: 'rule', name }
}

export function bytesOf(text: string): Expr {
  return seq([...Buffer.from(text)].map((byte) => span(byte, byte)))
}
