// What a compiled language has to say so that a candidate and its expectations are two programs: both print values in one way, and the
// prints are compared.

import type { Confinement } from '../confined.ts'
import type { Task } from '../sandbox.ts'

export interface Compiled {
  /** Both programs, as files of /build by name. Each prints `mark`, the number of the test and a value, a line a test. */
  programs: (
    task: Task,
    mark: string,
  ) => { candidate: Record<string, string>; expected: Record<string, string>; lines: string[] }
  /** In /build, from the files above to what `run` starts. */
  compile: (files: string[]) => string[]
  run: string[]
  /** What its compiler and its programs need beside the defaults. */
  compiles_with?: Partial<Confinement>
  runs_with?: Partial<Confinement>
}
