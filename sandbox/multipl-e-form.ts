// The form of MultiPL-E's tests, as far as a judge has to take them apart: which function they call, and each call beside what it should
// give, so that calls run in the candidate's process and expectations in the judge's.

import type { Task } from './sandbox.ts'

export interface Expectation {
  /** As it stands in the tests, for whoever reads of its failure. */
  line: string
  call: string
  expected: string
}

/** Where tests close the function that the prompt opened, that brace is the candidate's. */
export function closed(task: Task): Task {
  const brace = /^\s*\}/.exec(task.tests)?.[0]
  if (!brace) return task
  return { ...task, candidate: `${task.candidate}\n}`, tests: task.tests.slice(brace.length) }
}

export function calledFunction(tests: string): string {
  const name = /candidate\s*:?=\s*([\w$]+)/.exec(tests)?.[1] ?? /candidate\(\)\s*\{\s*([\w-]+)/.exec(tests)?.[1]
  if (!name) throw new Error('its tests name no candidate')
  return name
}

/** The end of what opens at `start`, brackets of every kind counted and texts skipped. */
export function endOfBrackets(source: string, start: number): number {
  let depth = 0
  for (let i = start; i < source.length; i++) {
    const character = source[i]!
    if (character === '"') i = endOfText(source, i)
    else if (character === "'" && isCharacter(source, i))
      i = source.indexOf("'", source[i + 1] === '\\' ? i + 3 : i + 2)
    else if ('([{'.includes(character)) depth++
    else if (')]}'.includes(character) && --depth === 0) return i
  }
  throw new Error('its tests have an open bracket')
}

/** A quote before a letter may also begin a lifetime of Rust. */
const isCharacter = (source: string, i: number) => source[i + 1] === '\\' || source[i + 2] === "'"

function endOfText(source: string, start: number): number {
  for (let i = start + 1; i < source.length; i++) {
    if (source[i] === '\\') i++
    else if (source[i] === '"') return i
  }
  throw new Error('its tests have an open text')
}
