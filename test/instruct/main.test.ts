// The recipe from seeds to a file, against a model whose every answer is known: each reason to reject, the same result by requests and by
// batches (INSTRUCTED_BATCHES=1), and after a kill.

import { type ChildProcess, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, onTestFinished, test } from 'vitest'
import { AlikeIndex, LeakIndex } from '../../instruct/overlap.ts'
import { humanEval } from '../eval/humaneval.ts'
import { draws } from '../support/draws.ts'
import { eventually } from '../support/patience.ts'
import { type ScriptedModel, startScriptedModel } from './scripted-model.ts'

const folder = mkdtempSync(join(tmpdir(), 'ziya-instruct-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const leaked = humanEval.problems[2]!.prompt.match(/"""\s*([^\n]*\n?[^\n]*)/)![1]!.replaceAll(/\s+/g, ' ')
const SEEDS = [
  'Write a function increment that adds one to a number.',
  'Write a function increment that adds one to a number!',
  'Write a function successor which stays what it is, whoever asks for more.',
  'Write a function wrong_sum that is one more than what comes in.',
  'Write a function untested for whole numbers on a line.',
  'Write a function silent of which nobody says anything.',
  'Write a function broken by the hand of whoever typed it.',
  `Write a function leak. ${leaked}`,
]
const seeds_file = join(folder, 'seeds.jsonl')
writeFileSync(seeds_file, SEEDS.map((instruction) => `${JSON.stringify({ instruction })}\n`).join(''))

function run({ url }: ScriptedModel, out: string, ...more: string[]): ChildProcess {
  const main = new URL('../../instruct/main.ts', import.meta.url).pathname
  const args = [
    '--seeds',
    seeds_file,
    '--base-url',
    url,
    '--model',
    'm',
    '--generations',
    '1',
    '--concurrency',
    '2',
    '--out',
    out,
    '--poll-ms',
    '1',
  ]
  return spawn(process.execPath, [main, ...args, ...more], { stdio: ['ignore', 'ignore', 'pipe'] })
}

async function ended(child: ChildProcess): Promise<number | null> {
  child.stderr!.resume()
  return new Promise((resolve) => child.once('close', resolve))
}

async function newModel(): Promise<ScriptedModel> {
  const model = await startScriptedModel()
  onTestFinished(model.close)
  return model
}

const newFolder = (name: string) => {
  const out = join(folder, name)
  mkdirSync(out)
  return out
}
const resultIn = (out: string) => ['data.jsonl', 'rejected.jsonl'].map((name) => readFileSync(join(out, name), 'utf8'))
const linesOf = (text: string) =>
  text
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line))

let whole: string[] | null = null

test('what runs and passes its tests is kept, and what is rejected says why', async () => {
  const out = newFolder('whole')
  expect(await ended(run(await newModel(), out))).toBe(0)
  whole = resultIn(out)
  const [accepted, rejected] = whole.map(linesOf)
  expect(accepted!.map(({ id }) => id)).toEqual(['0-0', '2-0', '0-1'])
  expect(accepted![0]).toMatchObject({
    instruction: SEEDS[0],
    output: 'def increment(x):\n    return x + 1',
    tests: 'assert increment(1) == 2\nassert increment(2) == 3',
  })
  const reasons = Object.fromEntries(rejected!.map(({ id, reason }) => [id, reason]))
  expect(reasons).toMatchObject({
    '1-0': 'it says the same as 0-0',
    '3-0': 'a test fails: assert wrong_sum(1) == 3 # got 2',
    '4-0': 'there are no tests',
    '5-0': 'there is no code',
    '6-0': expect.stringMatching(/^the code does not run: SyntaxError/),
    '7-0': 'it has words of HumanEval/2 of the benchmark',
    '2-1': 'the task did not change',
  })
  expect(accepted!.length + rejected!.length).toBe(2 * SEEDS.length)
})

test.runIf(draws('INSTRUCTED_BATCHES', { few: 0, all: 1 }) > 0)(
  'as batches it is the same, each stage in one, also where whoever made it was killed before it heard of it',
  async () => {
    const model = await newModel()
    const out = newFolder('batches')
    model.tells_batches = false
    const child = run(model, out, '--batch')
    await eventually(async () => (model.batches.length > 0 ? true : null))
    child.kill('SIGKILL')
    await ended(child)
    model.tells_batches = true
    expect(await ended(run(model, out, '--batch'))).toBe(0)
    expect(resultIn(out)).toEqual(whole)
    expect(new Set(model.asked).size).toBe(model.asked.length)
  },
)

test('killed and run again it is the same, and nothing is asked that was answered', async () => {
  const model = await newModel()
  const out = newFolder('killed')
  model.answers_max = 11
  const child = run(model, out)
  child.stderr!.resume()
  await eventually(async () => (model.asked.length >= 11 ? true : null))
  await eventually(async () => (answersIn(out) >= 11 ? true : null))
  child.kill('SIGKILL')
  await new Promise((resolve) => child.once('close', resolve))
  writeFileSync(join(out, 'answers.jsonl'), readFileSync(join(out, 'answers.jsonl')).subarray(0, -5)) // as a kill may leave it
  model.answers_max = Number.POSITIVE_INFINITY
  expect(await ended(run(model, out))).toBe(0)
  expect(resultIn(out)).toEqual(whole)
  const asked = model.asked.length
  expect(await ended(run(model, out))).toBe(0)
  expect(model.asked).toHaveLength(asked)
})

function answersIn(out: string): number {
  try {
    return linesOf(readFileSync(join(out, 'answers.jsonl'), 'utf8')).length
  } catch {
    return 0
  }
}

test('texts are alike by most of their runs of words, and leak by one long run', () => {
  const known = new AlikeIndex()
  known.add('a', 'Write a function that returns the sum of all even numbers in a list of numbers')
  expect(known.find('write a function that returns the sum of all even numbers in a list of numbers!')).toBe('a')
  expect(known.find('Write a function that returns the product of all odd numbers below a limit')).toBeNull()
  const leaks = new LeakIndex()
  leaks.add('p', '给定一个正浮点数，可以将其分解为整数部分和小数部分。')
  expect(leaks.find('请注意：给定一个正浮点数，可以将其分解。')).toBe('p')
  expect(leaks.find('给定一个整数，返回它的平方。')).toBeNull()
})
