// Runs npm and CMake: in a group of their own, which hears of a signal through us and whose end is waited for, so that nothing
// works on in a folder that the next start would take for its own.

import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { tiedCommand } from '../dies-with-parent.mjs'
import { exitCodeOf, onSignals } from '../signals.mjs'

// What a group has left to do after a signal before it is killed.
const LEAVE_MS_MAX = 10_000

/**
 * Resolves with the exit status and the output once the command and everything it started have ended. A signal meanwhile ends
 * this process, after the group. The group keeps `lock` even where this process is killed. `signal` gives it up.
 */
export async function runChild(command, args, { lock, onLine = () => {}, signal: given_up }) {
  const [file, ...rest] = tiedCommand('SIGTERM', [command, ...args])
  const child = spawn(file, rest, { stdio: ['ignore', 'pipe', 'pipe', lock?._handle?.fd ?? 'ignore'], detached: true })
  let asked = null
  const forget = onSignals({
    first: (signal) => {
      asked = signal
      signalGroup(child, signal)
    },
    second: () => signalGroup(child, 'SIGKILL'),
  })
  given_up?.addEventListener('abort', () => signalGroup(child, 'SIGTERM'))
  const result = await collect(child, onLine)
  if (asked || given_up?.aborted) await groupEnded(child)
  forget()
  if (asked) process.exit(exitCodeOf(asked))
  return result
}

function collect(child, onLine) {
  const lines = []
  for (const stream of [child.stdout, child.stderr]) {
    createInterface(stream).on('line', (line) => {
      lines.push(line)
      onLine(line)
    })
  }
  return new Promise((resolve) => {
    child.once('error', (error) => resolve({ status: error.code, output: error.message }))
    // setpriv answers 127 for a command that is not there.
    child.once('close', (status, signal) =>
      resolve({ status: status === 127 ? 'ENOENT' : (status ?? signal), output: lines.join('\n') }),
    )
  })
}

function signalGroup({ pid }, signal) {
  try {
    return process.kill(-pid, signal)
  } catch {
    return false // nobody is left
  }
}

async function groupEnded(child) {
  for (const deadline = Date.now() + LEAVE_MS_MAX; signalGroup(child, 0); await sleep(20))
    if (Date.now() > deadline) signalGroup(child, 'SIGKILL')
}
