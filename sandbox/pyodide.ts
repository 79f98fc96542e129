// The sandbox of machines without bubblewrap: Python alone, in WebAssembly, each candidate and each judge in a Node process of its own
// that may do nothing. It is slower to start than a real process.

import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import { type Limits, limits_default, type Sandbox, type Task, type Verdict } from './sandbox.ts'
import { judgeApart, type Pair } from './two-processes.ts'

const host = join(import.meta.dirname, 'pyodide-host.ts')
const pyodide_folder = dirname(createRequire(import.meta.url).resolve('pyodide/package.json'))
const pyodide_url = pathToFileURL(join(pyodide_folder, 'pyodide.mjs')).href

export function pyodideSandbox(): Sandbox {
  const folder = mkdtempSync(join(tmpdir(), 'sandbox-pyodide-'))
  const remove = () => rmSync(folder, { recursive: true, force: true })
  process.on('exit', remove)
  const snapshot = join(folder, 'snapshot.bin')
  let making: Promise<unknown> | null = null
  const judge = async (task: Task): Promise<Verdict> => {
    if (task.language !== 'python') return { passed: false, failure: 'Pyodide runs Python alone', seconds: 0 }
    making ??= makeSnapshot(snapshot)
    await making
    const wall_s = (task.limits?.wall_s ?? limits_default.wall_s) + start_wall_s
    return judgeApart({ ...task, limits: { ...task.limits, wall_s } }, (limits, judge_limits) =>
      pyodidePair(snapshot, limits, judge_limits),
    )
  }
  const close = async () => {
    process.off('exit', remove)
    remove()
  }
  return { name: 'pyodide', languages: ['python'], judge, close }
}

const makeSnapshot = (file: string) =>
  promisify(execFile)(process.execPath, [join(import.meta.dirname, 'pyodide-snapshot.ts'), file], { env: {} })

function pyodidePair(snapshot: string, limits: Limits, judge_limits: Limits): Pair {
  return { candidate: start('candidate', snapshot, limits), judge: start('judge', snapshot, judge_limits) }
}

function start(role: 'candidate' | 'judge', snapshot: string, limits: Limits): ChildProcess {
  const reads = [pyodide_folder, import.meta.dirname, dirname(snapshot)]
  const node = [
    process.execPath,
    '--permission',
    ...reads.map((folder) => `--allow-fs-read=${folder}`),
    // Most of the interpreter never runs: it is compiled when it does, and once.
    ...['--wasm-lazy-compilation', '--no-wasm-tier-up'],
    ...[host, role, snapshot, pyodide_url],
  ]
  const [command, ...args] = [...limited(limits), ...node]
  const pipes = role === 'judge' ? 2 : 0
  return spawn(command!, args, { stdio: Array(3 + pipes).fill('pipe'), env: {} })
}

/** WebAssembly itself bounds the memory at 2 GiB; where the system has prlimit, it bounds the rest. */
function limited({ cpu_s, memory_bytes }: Limits): string[] {
  if (!existsSync('/usr/bin/prlimit')) return []
  return [
    '/usr/bin/prlimit',
    `--cpu=${cpu_s + start_cpu_s}`,
    `--data=${memory_bytes + node_bytes}`,
    '--core=0',
    '--fsize=0',
    '--',
  ]
}

// What Node and the interpreter may need before the candidate begins, on a machine that does other work.
const start_cpu_s = 8
const start_wall_s = 90
const node_bytes = 2 ** 31
