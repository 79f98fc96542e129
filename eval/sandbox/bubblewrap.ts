// The sandbox of real processes. Python's candidates and judges are two processes of the same interpreter.

import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { bwrap, type Confinement, startConfined } from './confined.ts'
import { judge_limits, type Limits, type Sandbox, type Task } from './sandbox.ts'
import { findPython, type Python, systemLibraries } from './toolchain.ts'
import { judgeApart, type Pair } from './two-processes.ts'

const python_sources = join(import.meta.dirname, 'python')

export async function bubblewrapSandbox(): Promise<
  { sandbox: Sandbox; reason: null } | { sandbox: null; reason: string }
> {
  if (!existsSync(bwrap())) return { sandbox: null, reason: 'bubblewrap is not installed' }
  const python = findPython()
  if (!python) return { sandbox: null, reason: 'there is no python3 for bubblewrap to confine' }
  const judge = (task: Task) => judgeApart(task, (limits) => pythonPair(python, limits))
  const trial = await judge({ language: 'python', candidate: 'def f(): return 1', tests: 'assert f() == 1' })
  if (!trial.passed) return { sandbox: null, reason: `bubblewrap does not work here: ${trial.failure}` }
  return { sandbox: { name: 'bubblewrap', languages: ['python'], judge, close: async () => {} }, reason: null }
}

function pythonPair(python: Python, limits: Limits): Pair {
  const start = (file: string, own: Partial<Confinement>) =>
    startConfined({
      command: [python.executable, '-I', '-S', '-B', `/judge/${file}`, ...python.packages],
      reads: pythonReads(python),
      limits,
      may_fork: false,
      ...own,
    })
  return { candidate: start('candidate.py', {}), judge: start('judge.py', { limits: judge_limits, pipes: 2 }) }
}

function pythonReads({ executable, library, packages }: Python): [string, string][] {
  const programs = [executable, '/usr/bin/setpriv', '/usr/bin/prlimit', library, ...packages]
  return [...programs.map((path): [string, string] => [path, path]), ...systemLibraries(), [python_sources, '/judge']]
}
