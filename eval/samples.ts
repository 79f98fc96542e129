// samples.jsonl, the form of the official harness: one line a sample, `task_id` and `completion`. Ours carry what else is known of
// them; lines that others wrote may name the completion and the problem as their harness does.

import { appendFileSync, existsSync, readFileSync, truncateSync } from 'node:fs'
import type { Problem } from './problem.ts'
import { type Line, readLines } from './suite/suite.ts'

export interface Sample {
  task_id: string
  completion: string
  /** A whole program, which the problem's prompt does not precede. */
  is_whole?: boolean
  /** Which of the n samples of its problem. */
  index: number
  finish_reason?: string | null
  tokens_in?: number
  tokens_out?: number
  seconds?: number
  /** Why there is no answer. */
  error?: string
}

/** What an earlier run wrote here. A line that a kill cut short is removed, and asked for again. */
export function readOwnSamples(file: string): Sample[] {
  if (!existsSync(file)) return []
  const bytes = readFileSync(file)
  const whole = bytes.lastIndexOf(0x0a) + 1
  if (whole < bytes.length) truncateSync(file, whole)
  return readLines(bytes.subarray(0, whole), file) as unknown as Sample[]
}

export function appendSample(file: string, sample: Sample): void {
  appendFileSync(file, `${JSON.stringify(sample)}\n`)
}

/** Samples of any harness, each found its problem; a line of no problem of this suite is an error. */
export function readForeignSamples(file: string, problems: Problem[]): Sample[] {
  const find = finder(problems)
  const counts = new Map<string, number>()
  return readLines(readFileSync(file), file).flatMap((line, i) => {
    const where = `${file}, line ${i + 1}`
    const problem = find(line)
    if (!problem) throw new Error(`${where}: ${nameOf(line) ?? 'no task_id'} is no problem of this suite`)
    return completionsOf(line, where).map((given) => {
      const index = counts.get(problem.id) ?? 0
      counts.set(problem.id, index + 1)
      return { task_id: problem.id, index, ...given }
    })
  })
}

const nameOf = (line: Line) => (line.task_id ?? line.name ?? line.id) as string | number | undefined

/** By its id, and else by its number: CodeFuse writes Python/7 for HumanEval/7. */
function finder(problems: Problem[]): (line: Line) => Problem | undefined {
  const by_id = new Map(problems.map((problem) => [problem.id, problem]))
  const by_number = new Map(problems.map((problem) => [numberIn(problem.id), problem]))
  return (line) => {
    const name = nameOf(line)
    if (name === undefined) return undefined
    const number = numberIn(String(name))
    return by_id.get(String(name)) ?? (number === null ? undefined : by_number.get(number))
  }
}

const numberIn = (id: string) => /^[A-Za-z-]*[/_]?(\d+)(?:_|$)/.exec(id)?.[1] ?? null

function completionsOf(line: Line, where: string): { completion: string; is_whole?: boolean }[] {
  if (typeof line.solution === 'string') return [{ completion: line.solution, is_whole: true }]
  if (Array.isArray(line.completions)) return line.completions.map((completion) => ({ completion: String(completion) }))
  const completion = line.completion ?? line.generation
  if (typeof completion !== 'string') throw new Error(`${where} has no completion, generation, completions or solution`)
  return [{ completion }]
}
