// What judges code that nobody trusts: one interface, two ways. bubblewrap confines real processes where it is installed; Pyodide
// runs Python in WebAssembly where it is not. Nothing of this folder knows benchmarks or models.

import { bubblewrapSandbox } from './bubblewrap.ts'
import { pyodideSandbox } from './pyodide.ts'

export const LANGUAGES = ['python', 'javascript', 'typescript', 'cpp', 'java', 'go', 'rust', 'shell'] as const
export type Language = (typeof LANGUAGES)[number]

/** A candidate's program and the tests that decide about it. Only `candidate` is not trusted. */
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

/** The strongest sandbox this machine has, or the one that is named; `reason` says why bubblewrap is not it. */
export async function openSandbox(
  kind: Sandbox['name'] | 'any' = 'any',
): Promise<{ sandbox: Sandbox; reason: string | null }> {
  if (kind === 'pyodide') return { sandbox: pyodideSandbox(), reason: null }
  const { sandbox, reason } = await bubblewrapSandbox()
  if (sandbox) return { sandbox, reason: null }
  if (kind === 'bubblewrap') throw new Error(reason)
  return { sandbox: pyodideSandbox(), reason }
}

/** A judge is trusted; what it decodes is not. */
export const judge_limits: Limits = { cpu_s: 60, wall_s: 600, memory_bytes: 2 ** 31 }
