// The sandbox of real processes, for every language whose compiler or interpreter is here. Of interpreted languages candidate and judge are
// two processes that talk; of compiled ones two programs whose prints are compared.

import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { cpp } from './compiled/cpp.ts'
import { go } from './compiled/go.ts'
import { java } from './compiled/java.ts'
import { judgeCompiled } from './compiled/judge.ts'
import { rust } from './compiled/rust.ts'
import { bwrap, type Confinement, startConfined } from './confined.ts'
import { oneLine } from './one-line.ts'
import {
  LANGUAGES,
  type Language,
  type Limits,
  type Sandbox,
  type SpareLimits,
  type Task,
  type Verdict,
} from './sandbox.ts'
import { judgeJavaScript, judgeShell } from './scripts.ts'
import { type CompiledLanguage, findPython, findToolchain, type Python, systemLibraries } from './toolchain.ts'
import { judgeApart, type Pair } from './two-processes.ts'

const python_sources = join(import.meta.dirname, 'python')

export async function bubblewrapSandbox(
  spare: SpareLimits | null,
): Promise<{ sandbox: Sandbox; reason: null } | { sandbox: null; reason: string }> {
  if (!existsSync(bwrap())) return { sandbox: null, reason: 'bubblewrap is not installed' }
  const python = findPython()
  if (!python) return { sandbox: null, reason: 'there is no python3 for bubblewrap to confine' }
  const pairs = new PythonPairs(python, spare)
  const judges = judgesHere(pairs)
  const trial = await judges.python!({ language: 'python', candidate: 'def f(): return 1', tests: 'assert f() == 1' })
  if (!trial.passed) return { sandbox: null, reason: `bubblewrap does not work here: ${trial.failure}` }
  const languages = LANGUAGES.filter((language) => judges[language])
  const judge = (task: Task) => judges[task.language]!(task).catch(unjudged)
  pairs.keepSpare()
  return { sandbox: { name: 'bubblewrap', languages, judge, close: async () => pairs.close() }, reason: null }
}

type Judge = (task: Task) => Promise<Verdict>

function judgesHere(pairs: PythonPairs): Partial<Record<Language, Judge>> {
  const found: Partial<Record<Language, Judge>> = {
    python: (task) => judgeApart(task, (limits, judge_limits) => pairs.take(limits, judge_limits)),
    javascript: judgeJavaScript,
    typescript: judgeJavaScript,
    ...(existsSync('/usr/bin/bash') && { shell: judgeShell }),
  }
  for (const [language, compiled] of Object.entries({ cpp, java, go, rust })) {
    const toolchain = findToolchain(language as CompiledLanguage)
    if (toolchain) found[language as Language] = async (task) => judgeCompiled(compiled, toolchain, task)
  }
  return found
}

/** Tests of a form that cannot be taken apart pass nobody. */
const unjudged = (error: Error): Verdict => ({ passed: false, failure: oneLine(error.message), seconds: 0 })

/** Pairs of interpreters. Where that is wanted one is started before its task comes, which is most of the time of a short one. */
class PythonPairs {
  readonly #python: Python
  readonly #spare_limits: SpareLimits | null
  #spare: Pair | null = null

  constructor(python: Python, spare_limits: SpareLimits | null) {
    this.#python = python
    this.#spare_limits = spare_limits
  }

  take(limits: Limits, judge_limits: Limits): Pair {
    const spare = this.#spare
    if (!spare || !areSame({ limits, judge_limits }, this.#spare_limits!))
      return pythonPair(this.#python, limits, judge_limits)
    this.#spare = null
    const pair = isWaiting(spare) ? spare : pythonPair(this.#python, limits, judge_limits)
    pair.judge.once('exit', () => this.keepSpare())
    return pair
  }

  keepSpare(): void {
    if (!this.#spare_limits) return
    const { limits, judge_limits } = this.#spare_limits
    this.#spare ??= pythonPair(this.#python, limits, judge_limits)
  }

  close(): void {
    this.#spare?.candidate.kill('SIGKILL')
    this.#spare?.judge.kill('SIGKILL')
  }
}

// Their walls are the task's.
function areSame(one: SpareLimits, other: SpareLimits): boolean {
  const own = ({ limits, judge_limits }: SpareLimits) =>
    [limits, judge_limits].map(({ cpu_s, memory_bytes }) => `${cpu_s} ${memory_bytes}`).join()
  return own(one) === own(other)
}

function isWaiting({ candidate, judge }: Pair): boolean {
  return [candidate, judge].every(({ exitCode, signalCode }) => exitCode === null && signalCode === null)
}

function pythonPair(python: Python, limits: Limits, judge_limits: Limits): Pair {
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
