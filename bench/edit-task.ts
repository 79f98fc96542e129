// Tasks as editors send them, made of real Python files: a file and a wish in the prompt, the file as it then should be in the
// answer. And an engine that answers with a given text whatever its model would say, at its own speed.

import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Engine, StepBatch, StepResult } from '../gpu-node/run/native/engine.ts'
import { unpackRows } from '../gpu-node/run/native/row-table.ts'

export interface Task {
  prompt: string
  answer: string
}

/** The Python files of a folder, the longest lines' worth of each that is below `length_max` characters. */
export function pythonFiles(folder: string, length_max: number): string[] {
  return globSync('**/*.py', { cwd: folder })
    .sort()
    .map((file) => wholeLines(readFileSync(join(folder, file), 'utf8'), length_max))
    .filter((text) => text.length > length_max / 2)
}

function wholeLines(text: string, length_max: number): string {
  return text.slice(0, text.lastIndexOf('\n', length_max) + 1)
}

const RESERVED = new Set([
  'False',
  'None',
  'True',
  'class',
  'continue',
  'else',
  'elif',
  'from',
  'import',
  'return',
  'self',
  'with',
  'yield',
])

/** Renames the name that the file has most. */
export function renameTask(file: string): Task {
  const counts = new Map<string, number>()
  for (const [name] of file.matchAll(/\b[a-zA-Z_]{4,}\b/g)) counts.set(name, (counts.get(name) ?? 0) + 1)
  const [name] = [...counts].filter(([word]) => !RESERVED.has(word)).sort((a, b) => b[1] - a[1])[0]!
  const answer = file.replaceAll(new RegExp(`\\b${name}\\b`, 'g'), 'new_name')
  return { prompt: `${file}\nRename ${name} to new_name.\n`, answer }
}

/** Takes a line out and puts another in. */
export function lineTask(file: string): Task {
  const lines = file.split('\n')
  const at = Math.floor(lines.length / 2)
  const answer = lines
    .toSpliced(at, 1, '    # checked')
    .toSpliced(Math.floor(at / 2), 1)
    .join('\n')
  return { prompt: `${file}\nReplace line ${at + 1} by a comment, and drop line ${Math.floor(at / 2) + 1}.\n`, answer }
}

/** The file's second half, after its first: nothing of the answer is in the prompt but what code repeats by itself. */
export function writeTask(file: string): Task {
  const middle = file.indexOf('\n', file.length / 2) + 1
  return { prompt: file.slice(0, middle), answer: file.slice(middle) }
}

/** Draws the given tokens. Every row takes the one that its counter names. */
export class TeachingEngine implements Engine {
  readonly #engine: Engine
  answer: readonly number[] = []
  steps = 0

  constructor(engine: Engine) {
    this.#engine = engine
  }

  get info() {
    return this.#engine.info
  }

  async step(batch: StepBatch): Promise<StepResult> {
    this.steps++
    const result = await this.#engine.step(batch)
    return { ...result, tokens: Int32Array.from(unpackRows(batch.rows), ({ counter }) => this.answer[counter]!) }
  }

  close(): Promise<void> {
    return this.#engine.close()
  }
}
