// JavaScript, TypeScript and shell: interpreters, and so a candidate and a judge as for Python.

import { join } from 'node:path'
import { type Confinement, startConfined } from './confined.ts'
import { calledFunction, closed } from './multipl-e-form.ts'
import type { Limits, Task, Verdict } from './sandbox.ts'
import { machineReads } from './toolchain.ts'
import { judgeApart, type Pair } from './two-processes.ts'

// Inside. Where it stands outside may be below a folder that the sandbox has of its own.
const NODE = '/node'

export function judgeJavaScript(given: Task): Promise<Verdict> {
  const task = closed(given)
  return judgeApart({ ...task, names: [calledFunction(task.tests)] }, (limits, judge_limits) =>
    pair(limits, judge_limits, {
      candidate: [
        NODE,
        '--stack-size=50000',
        `--max-old-space-size=${limits.memory_bytes >> 21}`,
        '/judge/candidate.mjs',
      ],
      judge: [NODE, '--max-old-space-size=512', '/judge/judge.mjs'],
      folder: 'javascript',
      own: { reserves_memory: true, needs_proc: true },
    }),
  )
}

export function judgeShell(given: Task): Promise<Verdict> {
  const task = closed(given)
  const name = calledFunction(task.tests)
  const base64 = (text: string) => Buffer.from(text).toString('base64')
  const job = ({ tests, candidate }: Task, nonce: string) => [nonce, name, base64(tests), base64(candidate)].join('\n')
  const bash = (file: string) => ['/usr/bin/bash', '--noprofile', '--norc', `/judge/${file}`]
  const programs = {
    candidate: bash('candidate.sh'),
    judge: bash('judge.sh'),
    folder: 'shell',
    own: { may_fork: true },
  }
  return judgeApart(task, (limits, judge_limits) => ({ ...pair(limits, judge_limits, programs), job }))
}

interface Programs {
  candidate: string[]
  judge: string[]
  folder: string
  own: Partial<Confinement>
}

function pair(limits: Limits, judge_limits: Limits, { candidate, judge, folder, own }: Programs): Pair {
  const reads = machineReads([
    [join(import.meta.dirname, folder), '/judge'],
    [process.execPath, NODE],
  ])
  const start = (command: string[], more: Partial<Confinement>) =>
    startConfined({ command, reads, limits, may_fork: false, ...own, ...more })
  return { candidate: start(candidate, {}), judge: start(judge, { limits: judge_limits, pipes: 2 }) }
}
