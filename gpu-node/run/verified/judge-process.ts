// Judges one candidate after the other for the node that started it, which knows nothing of sandboxes. It is a process of its own, so
// that tests which are slow to read hold up no step, and it may be killed at any moment: what it confines ends with it.

import { setPriority } from 'node:os'
import { openSandbox } from '../../../sandbox/sandbox.ts'
import type { FromJudge, ToJudge } from './judge-messages.ts'

// Below what generates and answers, on the same cores.
const NICENESS = 5
const WALL_S = 30
const PROGRAM_BYTES = 1 << 30
const SHELL_BYTES = 64 << 20 // of each of the processes that a script may start
const TESTS_CPU_S = 20 // and to compile
const CPU_S_DEFAULT = 5

const limitsOf = (cpu_s: number, memory_bytes: number) => ({
  limits: { cpu_s, wall_s: WALL_S, memory_bytes },
  judge_limits: { cpu_s: TESTS_CPU_S, wall_s: WALL_S, memory_bytes: 2 * PROGRAM_BYTES },
})

const tell = (message: FromJudge) => void process.send!(message)

process.once('disconnect', () => process.exit())
setPriority(NICENESS)
const opened = await openSandbox('bubblewrap', limitsOf(CPU_S_DEFAULT, PROGRAM_BYTES)).catch((error: Error) => error)
if (opened instanceof Error) tell({ kind: 'unable', reason: opened.message })
else {
  const { sandbox } = opened
  let stopping = new AbortController()
  process.on('message', async (message: ToJudge) => {
    if (message.kind === 'stop') {
      stopping.abort()
      return
    }
    stopping = new AbortController()
    const { cpu_s, ...task } = message.task
    const memory_bytes = task.language === 'shell' ? SHELL_BYTES : PROGRAM_BYTES
    const { passed, failure } = await sandbox.judge({
      ...task,
      ...limitsOf(cpu_s, memory_bytes),
      signal: stopping.signal,
    })
    tell({ kind: 'judged', verdict: { passed: passed === true, failure } })
  })
  tell({ kind: 'able', languages: sandbox.languages })
}
