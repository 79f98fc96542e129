// The long-lived processes that we start: Postgres, workerd, the node. Each is tied to this process, has a group of its own, so that
// Ctrl-C in a terminal reaches us alone and we stop things in order, and is known here, so that all can be ended at once.

import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'
import { tiedCommand } from './dies-with-parent.mjs'

export interface Exit {
  code: number | null
  signal: NodeJS.Signals | null
}

/** One of them that is ready, until it is stopped or ends by itself. */
export interface RunningServer {
  url: string
  pid: number
  exited: Promise<Exit>
  stop(): Promise<void>
}

interface TiedOptions extends SpawnOptions {
  when_orphaned: NodeJS.Signals
  at_once: NodeJS.Signals // what ends it without a moment's wait
  user_id?: number | null
}

const running = new Map<ChildProcess, NodeJS.Signals>()

export function spawnTied(command: string[], options: TiedOptions): ChildProcess {
  const { when_orphaned, at_once, user_id = null, ...spawn_options } = options
  const [file, ...args] = tiedCommand(when_orphaned, command, user_id)
  const child = spawn(file!, args, { ...spawn_options, detached: true })
  running.set(child, at_once)
  const forget = () => running.delete(child)
  child.once('exit', forget).once('error', forget)
  return child
}

export function exitOf(child: ChildProcess): Promise<Exit> {
  if (hasEnded(child)) return Promise.resolve({ code: child.exitCode, signal: child.signalCode })
  return new Promise((resolve) => {
    child.once('exit', (code, signal) => resolve({ code, signal }))
    child.once('error', () => resolve({ code: 127, signal: null }))
  })
}

export function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null || child.pid === undefined
}

/** Signals the process's whole group: where it has a keeper, that one and the process itself. */
export function signalGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (hasEnded(child)) return
  try {
    process.kill(-child.pid!, signal)
  } catch {
    // It ended meanwhile.
  }
}

/** Ends all of them without a farewell. What they had acknowledged is on the disk. */
export function endChildrenAtOnce(): void {
  for (const [child, signal] of running) signalGroup(child, signal)
}
