// From rules to the words that native/grammar/grammar.h reads. What can never end is left out; a grammar that reads nothing at
// all, or calls itself before it has read a byte, is refused.

import { ALIKE_BYTES, alikeNodes } from './alike.ts'
import { type Automaton, automatonOf, type Budget, endingStates, trimmed } from './automaton.ts'
import type { Rules } from './expr.ts'
import { GrammarError } from './grammar-error.ts'

const NODES_MAX = 200_000
const TABLE_ENTRIES_MAX = 4_000_000 // (nodes, byte classes)
const WORDS_MAX = 300_000 // they are read on the thread that serves everybody

type Automata = ReadonlyMap<string, Automaton>

export function programOf(rules: Rules, root: string, budget: Budget): Int32Array<ArrayBuffer> {
  const automata = new Map([...rules].map(([name, expr]) => [name, automatonOf(expr, budget)]))
  const usable = usableRules(automata, root)
  refuseLeftRecursion(usable)
  return wordsOf(usable, root)
}

function usableRules(automata: Automata, root: string): Automata {
  const ending = endingRules(automata)
  if (!ending.has(root)) throw new GrammarError('Nothing can follow it: no text would be valid.')
  const usable = new Map<string, Automaton>()
  const open = new Set([root])
  for (const name of open) {
    const automaton = trimmed(automata.get(name)!, (rule) => ending.has(rule))
    usable.set(name, automaton)
    for (const { calls } of automaton) for (const { rule } of calls) open.add(rule)
  }
  return usable
}

function endingRules(automata: Automata): Set<string> {
  const callers = callersOf(automata)
  const ending = new Set<string>()
  const open = new Set(automata.keys())
  for (const name of open) {
    open.delete(name)
    if (ending.has(name) || !endingStates(automata.get(name)!, (rule) => ending.has(rule)).has(0)) continue
    ending.add(name)
    for (const caller of callers.get(name) ?? []) open.add(caller)
  }
  return ending
}

function callersOf(automata: Automata): Map<string, Set<string>> {
  const callers = new Map<string, Set<string>>()
  for (const [name, automaton] of automata) {
    for (const { calls } of automaton) {
      for (const { rule } of calls) {
        if (!automata.has(rule)) throw new GrammarError(`The rule '${rule}' is not defined.`)
        callers.set(rule, (callers.get(rule) ?? new Set()).add(name))
      }
    }
  }
  return callers
}

function refuseLeftRecursion(automata: Automata): void {
  const empty = rulesThatReadNothing(automata)
  const first = new Map([...automata].map(([name, automaton]) => [name, firstCalls(automaton, empty)]))
  const state = new Map<string, 'open' | 'done'>()
  for (const root of first.keys()) {
    const path: { name: string; rest: string[] }[] = []
    const enter = (name: string) => {
      if (state.get(name) === 'open')
        throw new GrammarError(`It refers to itself without anything before that (left recursion): '${name}'.`)
      if (state.has(name)) return
      state.set(name, 'open')
      path.push({ name, rest: [...first.get(name)!] })
    }
    enter(root)
    while (path.length > 0) {
      const next = path.at(-1)!.rest.pop()
      if (next !== undefined) enter(next)
      else state.set(path.pop()!.name, 'done')
    }
  }
}

/** Rules that may read no byte at all. */
function rulesThatReadNothing(automata: Automata): Set<string> {
  const callers = callersOf(automata)
  const empty = new Set<string>()
  const open = new Set(automata.keys())
  for (const name of open) {
    open.delete(name)
    if (empty.has(name)) continue
    const automaton = automata.get(name)!
    if (![...withoutBytes(automaton, empty)].some((i) => automaton[i]!.is_final)) continue
    empty.add(name)
    for (const caller of callers.get(name) ?? []) open.add(caller)
  }
  return empty
}

/** The states that are reached from the start without a byte. */
function withoutBytes(automaton: Automaton, empty: ReadonlySet<string>): Set<number> {
  const reached = new Set([0])
  for (const i of reached) for (const { rule, target } of automaton[i]!.calls) if (empty.has(rule)) reached.add(target)
  return reached
}

function firstCalls(automaton: Automaton, empty: ReadonlySet<string>): Set<string> {
  const calls = [...withoutBytes(automaton, empty)].flatMap((i) => automaton[i]!.calls)
  return new Set(calls.map(({ rule }) => rule))
}

function wordsOf(automata: Automata, root: string): Int32Array<ArrayBuffer> {
  const first = new Map<string, number>()
  let nodes = 0
  for (const [name, automaton] of automata) {
    first.set(name, nodes)
    nodes += automaton.length
  }
  const class_of = byteClasses(automata)
  const classes = Math.max(...class_of) + 1
  if (nodes > NODES_MAX || nodes * classes > TABLE_ENTRIES_MAX)
    throw new GrammarError('It is too large: it needs too many states.')
  const words = [classes, nodes, first.get(root)!, ...class_of]
  for (const [name, automaton] of automata) {
    const at = first.get(name)!
    for (const { is_final, bytes, calls } of automaton) {
      const edges = bytes.flatMap(({ low, high, target }) =>
        [...new Set(class_of.slice(low, high + 1))].map((byte_class) => [byte_class, at + target]),
      )
      words.push(Number(is_final), edges.length, calls.length)
      for (const edge of edges) words.push(...edge)
      for (const { rule, target } of calls) words.push(first.get(rule)!, at + target)
    }
  }
  if (words.length > WORDS_MAX) throw new GrammarError('It is too large: it needs too many states.')
  const program = Int32Array.from(words)
  return Int32Array.from([...program, ALIKE_BYTES, ...alikeNodes(program)])
}

/** Bytes that no edge tells apart are of one class. */
function byteClasses(automata: Automata): number[] {
  const begins = new Set<number>()
  for (const automaton of automata.values())
    for (const { bytes } of automaton) for (const { low, high } of bytes) begins.add(low).add(high + 1)
  let byte_class = 0
  return Array.from({ length: 256 }, (_, byte) => (byte > 0 && begins.has(byte) ? ++byte_class : byte_class))
}
