// What a suite is made of, whatever file it came from.

import type { Language, Task } from '../sandbox/sandbox.ts'

export interface Problem {
  id: string
  language: Language
  /** The beginning of a program for a model to continue; for suites of questions, the question. */
  prompt: string
  /** What to ask in words, where the suite has words. */
  question: string | null
  entry_point: string | null
  /** Where a plain continuation ends, as the suite's authors say. */
  stops: string[]
  /** The suite's own answer, in the place of a completion. */
  canonical: string | null
  /** The language a held-out question is asked in, for the figures of each. */
  group?: string
  /** The program and its tests, from a completion of the prompt. */
  task: (completion: string) => Task
}
