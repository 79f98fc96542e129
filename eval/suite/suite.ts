// The benchmarks by name, and the reading of their files: JSON lines or a JSON array, gzipped or not, as published. A run says the
// file's sha256, because files of one name differ.

import { createHash } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { gunzipSync } from 'node:zlib'
import type { Problem } from '../problem.ts'
import { heldOut } from './held-out.ts'
import { humanEval, humanEvalPlus } from './humaneval.ts'
import { mbpp, mbppPlus } from './mbpp.ts'
import { multiplE } from './multipl-e.ts'

export type Line = Record<string, unknown>

export interface Suite {
  name: string
  file: string
  sha256: string
  problems: Problem[]
}

const root = resolve(import.meta.dirname, '../..')

const suites: Record<string, { read: (line: Line) => Problem; file?: string; published_as: string }> = {
  humaneval: {
    read: humanEval,
    file: join(root, 'test/data/humaneval/HumanEval.jsonl.gz'),
    published_as: 'openai/human-eval, data/HumanEval.jsonl.gz',
  },
  'humaneval+': { read: humanEvalPlus, published_as: 'evalplus, HumanEvalPlus.jsonl.gz' },
  mbpp: { read: mbpp, published_as: 'google-research, mbpp/mbpp.jsonl or sanitized-mbpp.json' },
  'mbpp+': { read: mbppPlus, published_as: 'evalplus, MbppPlus.jsonl.gz' },
  'multipl-e': { read: multiplE, published_as: 'nuprl/MultiPL-E, prompts/humaneval-LANGUAGE-reworded.jsonl or .json' },
  'held-out': { read: heldOut, file: join(root, 'models/ziya-coding-mini/held-out.jsonl'), published_as: '' },
}

export const suiteNames = Object.keys(suites)

export function readSuite(name: string, file: string | undefined): Suite {
  const suite = suites[name]
  if (!suite) throw new Error(`--suite ${name}: there are ${suiteNames.join(', ')}`)
  const path = file ?? suite.file
  if (!path) throw new Error(`--suite ${name} needs --file: ${suite.published_as}`)
  if (!existsSync(path)) throw new Error(`${path} is not there`)
  const bytes = readFileSync(path)
  const problems = readLines(bytes, path).map((line, i) => readProblem(suite.read, line, `${path}, problem ${i + 1}`))
  if (problems.length === 0) throw new Error(`${path} has no problems`)
  return { name, file: path, sha256: createHash('sha256').update(bytes).digest('hex'), problems }
}

function readProblem(read: (line: Line) => Problem, line: Line, where: string): Problem {
  try {
    return read(line)
  } catch (error) {
    throw new Error(`${where}: ${(error as Error).message}`)
  }
}

export function readLines(bytes: Buffer, name: string): Line[] {
  const text = (bytes[0] === 0x1f && bytes[1] === 0x8b ? gunzipSync(bytes) : bytes).toString('utf8')
  if (/^\s*\[/.test(text)) return parsed(text, name) as unknown as Line[]
  const lines = text.split('\n').filter((line) => line.trim() !== '')
  return lines.map((line, i) => parsed(line, `${name}, line ${i + 1}`))
}

function parsed(text: string, where: string): Line {
  try {
    return JSON.parse(text)
  } catch {
    throw new Error(`${where} is no JSON`)
  }
}
