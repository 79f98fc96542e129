// The recipe of the card's second stage: tasks are made harder step by step, solved, and kept only where a solution runs and passes tests,
// says nothing that another item says, and nothing of a benchmark. What was answered decides everything, in the order of the seeds, so
// that the same answers give the same result.

import { hash } from 'node:crypto'
import { codeIn } from '../eval/recipe.ts'
import type { Sandbox } from '../sandbox/sandbox.ts'
import type { Answers, Question } from './answers.ts'
import type { Ask } from './ask.ts'
import { AlikeIndex, type LeakIndex } from './overlap.ts'
import { evolving, solving, testing, WAYS } from './prompts.ts'

export interface Item {
  id: string // "SEED-GENERATION"
  instruction: string
}

export interface Accepted extends Item {
  output: string
  tests: string
}

export interface Rejected extends Item {
  reason: string
}

export interface RecipeOptions {
  seeds: string[]
  generations: number
  answers: Answers
  ask: Ask
  sandbox: Pick<Sandbox, 'judge'>
  leaks: LeakIndex
  /** Tells of a stage and how many of its questions have to be asked; what it returns is called with each answer. */
  on_stage: (name: string, questions: number) => () => void
}

export type Made = { kind: 'accepted'; item: Accepted } | { kind: 'rejected'; item: Rejected }

export async function make(options: RecipeOptions): Promise<Made[]> {
  const items = await evolve(options)
  const { answers } = options
  const open = items.filter((item) => flawOf(item) === null)
  await stage(
    options,
    'solutions',
    open.map(({ id, instruction }) => ({ key: `${id} solution`, text: solving(instruction) })),
  )
  const solved = open.filter(({ id }) => codeOf(answers, `${id} solution`) !== null)
  await stage(
    options,
    'tests',
    solved.map((item) => testQuestion(answers, item)),
  )
  const known = new AlikeIndex()
  const made: Made[] = []
  for (const item of items) made.push(await decided(options, item, known))
  return made
}

interface Evolved extends Item {
  before: string | null
}

/** The seeds, and after them each generation of the one before. */
async function evolve(options: RecipeOptions): Promise<Evolved[]> {
  const { seeds, generations, answers } = options
  let last: Evolved[] = seeds.map((instruction, i) => ({ id: `${i}-0`, instruction, before: null }))
  const all = [...last]
  for (let generation = 1; generation <= generations; generation++) {
    const questions = last.map(({ instruction }, i) => ({
      key: `${i}-${generation} task`,
      text: evolving(instruction, WAYS[(i + generation) % WAYS.length]!),
    }))
    await stage(options, `generation ${generation}`, questions)
    last = last.map((item, i) => {
      const instruction = answers.get(`${i}-${generation} task`)!.trim()
      const evolved = { id: `${i}-${generation}`, instruction, before: item.instruction }
      all.push(evolved)
      return flawOf(evolved) === null ? evolved : { ...item, id: evolved.id } // the next step starts from what is sound
    })
  }
  return all
}

async function stage({ answers, ask, on_stage }: RecipeOptions, name: string, questions: Question[]): Promise<void> {
  const missing = answers.missing(questions)
  await ask(missing, answers, on_stage(name, missing.length))
}

const INSTRUCTION_LENGTH_MAX = 4000

/** Why a rewritten task is none, or null. */
function flawOf({ instruction, before }: Evolved): string | null {
  if (instruction.length < 10) return 'the task is empty'
  if (instruction.length > INSTRUCTION_LENGTH_MAX) return 'the task is too long'
  if (before !== null && instruction.toLowerCase() === before.toLowerCase()) return 'the task did not change'
  return /```|^(Task:|I'm sorry|As an AI)/.test(instruction) && before !== null ? 'the answer is no task' : null
}

function codeOf(answers: Answers, key: string): string | null {
  const answer = answers.get(key) ?? ''
  const code = codeIn(answer).trim()
  return code === '' ? null : code
}

function testQuestion(answers: Answers, { id, instruction }: Item): Question {
  return { key: `${id} tests`, text: testing(instruction, codeOf(answers, `${id} solution`)!) }
}

async function decided(options: RecipeOptions, evolved: Evolved, known: AlikeIndex): Promise<Made> {
  const { id, instruction } = evolved
  const output = codeOf(options.answers, `${id} solution`)
  const tests = assertsOf(codeOf(options.answers, `${id} tests`) ?? '')
  const reason = flawOf(evolved) ?? overlapOf(options, instruction, known) ?? (await failureOf(options, output, tests))
  if (reason !== null) return { kind: 'rejected', item: { id, instruction, reason } }
  known.add(id, instruction)
  return { kind: 'accepted', item: { id, instruction, output: output!, tests } }
}

function overlapOf({ leaks }: RecipeOptions, instruction: string, known: AlikeIndex): string | null {
  const leaked = leaks.find(instruction)
  if (leaked !== null) return `it has words of ${leaked} of the benchmark`
  const alike = known.find(instruction)
  return alike === null ? null : `it says the same as ${alike}`
}

/** A test is a line that asserts; what a model says around them is none. */
function assertsOf(text: string): string {
  return text
    .split('\n')
    .filter((line) => line.startsWith('assert '))
    .join('\n')
}

async function failureOf(options: RecipeOptions, output: string | null, tests: string): Promise<string | null> {
  if (output === null) return 'there is no code'
  const failed = tests === '' ? null : await judged(options, output, tests)
  if (tests !== '' && failed === null) return null
  const broken = await judged(options, output, 'pass')
  if (broken !== null) return `the code does not run: ${broken}`
  return failed === null ? 'there are no tests' : `a test fails: ${failed}`
}

/** The failure, or null; what was judged before is not judged again. */
async function judged({ sandbox, answers }: RecipeOptions, candidate: string, tests: string): Promise<string | null> {
  const key = `verdict ${hash('sha256', JSON.stringify([candidate, tests]))}`
  const known = answers.get(key)
  if (known !== undefined) return known || null
  const { passed, failure } = await sandbox.judge({ language: 'python', candidate, tests })
  const said = passed ? '' : (failure ?? 'it failed')
  answers.keep(key, said)
  return said || null
}
