// What judges code that nobody trusts: one interface, two ways. bubblewrap confines real processes where it is installed; Pyodide
// runs Python in WebAssembly where it is not. Nothing of this folder knows benchmarks or models.

import { bubblewrapSandbox } from './bubblewrap.ts'

export const LANGUAGES = ['python', 'javascript', 'typescript', 'cpp', 'java', 'go', 'rust', 'shell'] as const
export type Language = (typeof LANGUAGES)[number]

/** A candidate's program and the tests that decide about it. Of both only `candidate` could want another verdict. */
export interface Task {
  language: Language
  candidate: string
  /** Python: asserts. Other languages: the tests of MultiPL-E's form. */
  tests: string
  /** What the tests may use beside the candidate: in Python run before them, elsewhere the declaration that the candidate completes. */
  context?: string
  /** What the candidate's program has to define. */
  names?: string[]
  limits?: Partial<Limits>
  /** Of what runs the tests, and of compilers, where whoever wrote the tests is not trusted with more. */
  judge_limits?: Partial<Limits>
  /** Ends the processes of the task at once; its verdict is of no use then. */
  signal?: AbortSignal
}

export interface Limits {
  cpu_s: number
  wall_s: number
  memory_bytes: number
}

export interface Verdict {
  passed: boolean
  /** One line without control characters: the failing assert, or why there was no verdict. */
  failure: string | null
  seconds: number
}

export interface Sandbox {
  name: 'bubblewrap' | 'pyodide'
  languages: Language[]
  judge: (task: Task) => Promise<Verdict>
  /** Ends what still runs. */
  close: () => Promise<void>
}

// The wall is wide: a machine that does other work is slow, and only a candidate that sleeps reaches it.
export const limits_default: Limits = { cpu_s: 5, wall_s: 30, memory_bytes: 1 << 30 }

/** Of a pair of Python's interpreters that waits for its task. */
export interface SpareLimits {
  limits: Limits
  judge_limits: Limits
}

/**
 * The strongest sandbox this machine has, or the one that is named; `reason` says why bubblewrap is not it. In bubblewrap a spare pair with
 * such limits waits for the next task in Python.
 */
export async function openSandbox(
  kind: Sandbox['name'] | 'any' = 'any',
  spare: SpareLimits | null = null,
): Promise<{ sandbox: Sandbox; reason: string | null }> {
  if (kind === 'pyodide') return { sandbox: await inPyodide(), reason: null }
  const { sandbox, reason } = await bubblewrapSandbox(spare)
  if (sandbox) return { sandbox, reason: null }
  if (kind === 'bubblewrap') throw new Error(reason)
  return { sandbox: await inPyodide(), reason }
}

// Its package is not there where only bubblewrap is ever asked for.
const inPyodide = async () => (await import('./pyodide.ts')).pyodideSandbox()

/** A judge is trusted; what it decodes is not. */
export const judge_limits: Limits = { cpu_s: 60, wall_s: 600, memory_bytes: 2 ** 31 }
