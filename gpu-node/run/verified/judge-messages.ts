// What a node and the processes that judge for it say to each other.

import type { VerifiedLanguage } from '../../../contract/internal/generation.ts'

/** A candidate's program, and the tests that decide about it. */
export interface JudgedTask {
  language: VerifiedLanguage
  candidate: string
  tests: string
  context: string
  cpu_s: number
}

export interface Verdict {
  passed: boolean
  /** The test that failed, or why there is no verdict, in one line. */
  failure: string | null
}

/** Of a task that is stopped the verdict is of no use, but comes: then the process is free. */
export type ToJudge = { kind: 'judge'; task: JudgedTask } | { kind: 'stop' }

export type FromJudge =
  | { kind: 'able'; languages: VerifiedLanguage[] }
  | { kind: 'unable'; reason: string }
  | { kind: 'judged'; verdict: Verdict }
