// Starts gpu-node/main.ts as a process of its own and waits until it is ready. The channel between the two carries nothing:
// when this process dies, however it dies, the channel closes and the node drains.

import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { diesWithParent } from './dies-with-parent.ts'

export interface NodeOptions {
  model_dir: string
  model_id: string
  port: number // 0 = any free one
  data_dir: string
  gateway_url: string
  node_secret: string
  flags?: Record<string, string | number> // any other setting of gpu-node/config.ts
}

export interface LocalNode {
  url: string
  pid: number
  exited: Promise<{ code: number | null; signal: NodeJS.Signals | null }>
  stop(): Promise<void> // drains
  kill(signal: NodeJS.Signals): void
}

// A node that has not drained by then is killed; its journal settles the rest after the next start.
const STOP_MS_MAX = 15_000
const DRAIN_MS_MAX = 8_000

type Child = ChildProcessByStdio<null, Readable, Readable>

/** Rejects with the process's own line where it cannot start. */
export async function startNode({ node_secret, flags, ...options }: NodeOptions): Promise<LocalNode> {
  const settings = Object.entries({ drain_ms_max: DRAIN_MS_MAX, ...options, ...flags })
  const [command, ...args] = diesWithParent('SIGTERM', [
    process.execPath,
    join(import.meta.dirname, '../gpu-node/main.ts'),
    ...settings.map(([k, v]) => `--${k.replaceAll('_', '-')}=${v}`),
  ])
  const child = spawn(command!, args, {
    env: { ...process.env, ZIYA_NODE_NODE_SECRET: node_secret },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true, // in a group of its own: Ctrl-C in a terminal reaches us, and we stop things in order
  })
  const exited = new Promise<{ code: number | null; signal: NodeJS.Signals | null }>((resolve) => {
    child.on('exit', (code, signal) => resolve({ code, signal }))
  })
  const url = await readyUrl(child)
  return {
    url,
    pid: child.pid!,
    exited,
    stop: async () => {
      child.kill('SIGTERM')
      const impatience = setTimeout(() => child.kill('SIGKILL'), STOP_MS_MAX)
      await exited
      clearTimeout(impatience)
    },
    kill: (signal) => {
      child.kill(signal)
    },
  }
}

function readyUrl(child: Child): Promise<string> {
  return new Promise((resolve, reject) => {
    let last_error = 'the node ended without a word'
    createInterface(child.stderr).on('line', (line) => {
      last_error = line
    })
    createInterface(child.stdout).on('line', (line) => {
      const { ready, url } = JSON.parse(line) as { ready: boolean; url: string }
      if (ready) resolve(url)
    })
    child.on('error', reject)
    child.on('close', () => reject(new Error(last_error)))
  })
}
