// A run's folder: samples.jsonl as the official harness reads it, results.jsonl as it writes it, results.json, settings.json. The
// name of the folder is of its settings, so that a run only goes on where it began.

import { createHash } from 'node:crypto'
import { existsSync, globSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Judged } from '../run.ts'
import { cardChart, cardRows, cardTable } from './card.ts'
import type { Result } from './result.ts'

export interface RunFolder {
  path: string
  samples: string
}

export function openFolder(out: string, name: string, settings: object, fresh: boolean): RunFolder {
  const text = `${JSON.stringify(settings, null, 2)}\n`
  const digest = createHash('sha256').update(text).digest('hex').slice(0, 8)
  const path = join(out, `${name.replaceAll(/[^\w.+-]+/g, '-')}-${digest}`)
  mkdirSync(path, { recursive: true })
  writeFileSync(join(path, 'settings.json'), text)
  const samples = join(path, 'samples.jsonl')
  if (fresh && existsSync(samples)) renameSync(samples, join(path, 'samples-before.jsonl'))
  return { path, samples }
}

export function readResult(file: string): Result {
  return JSON.parse(readFileSync(file, 'utf8'))
}

/** The last finished run of this folder, or of the same suite and model with other settings. */
export function lastResult(
  out: string,
  folder: RunFolder,
  { suite, model }: { suite: string; model: string },
): Result | null {
  const own = join(folder.path, 'results.json')
  if (existsSync(own)) return readResult(own)
  const others = allResults(out).filter((one) => one.suite === suite && one.model === model)
  return others.toSorted((a, b) => a.finished_at.localeCompare(b.finished_at)).at(-1) ?? null
}

const allResults = (out: string) => globSync('*/results.json', { cwd: out }).map((file) => readResult(join(out, file)))

export function keepResult(folder: RunFolder, result: Result, judged: Judged[]): void {
  const lines = judged.map(({ failure, ...sample }) => ({
    ...sample,
    result: sample.passed ? 'passed' : `failed: ${failure}`,
  }))
  writeFileSync(join(folder.path, 'results.jsonl'), lines.map((line) => `${JSON.stringify(line)}\n`).join(''))
  writeFileSync(join(folder.path, 'results.json'), `${JSON.stringify(result, null, 2)}\n`)
}

/** The card's table with every whole, greedy run of HumanEval that lies here; the newest of a model counts. */
export function writeCard(out: string): string {
  const whole = allResults(out).filter(
    ({ suite, total, results }) => suite === 'humaneval' && total === 164 && Object.keys(results).length === 164,
  )
  const rows = cardRows(whole.toSorted((a, b) => b.finished_at.localeCompare(a.finished_at)))
  const table = cardTable(rows)
  writeFileSync(join(out, 'card.md'), table)
  writeFileSync(join(out, 'card.svg'), cardChart(rows))
  return table
}
