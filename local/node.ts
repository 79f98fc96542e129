// Starts gpu-node/main.ts as a process of its own and waits until it is ready. The channel between the two carries nothing:
// when this process dies, however it dies, the channel closes and the node drains.

import type { ChildProcess } from 'node:child_process'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { orAborted } from './aborted.ts'
import { exitOf, type RunningServer, signalGroup, spawnTied } from './children.ts'

export interface NodeOptions {
  model_dir: string | null // null where the engine is another's, and its tokenizer not here
  model_id: string
  port: number // 0 = any free one
  data_dir: string
  gateway_url: string
  ticket_keys: string // the gateway's public keys, commas between them
  flags?: Record<string, string | number | readonly string[]> // any other setting of gpu-node/config.ts
  environment?: NodeJS.ProcessEnv // secrets, which are no flags
  signal?: AbortSignal | undefined // gives up starting
  log?: (line: string) => void // takes the node's log
  on_progress?: (line: string) => void // hears how much of the weights is loaded
}

/** Its stop drains it. */
export interface LocalNode extends RunningServer {
  kill(signal: NodeJS.Signals): void
}

// A node that has not drained by then is killed; its journal settles the rest after the next start.
const STOP_MS_MAX = 15_000
const DRAIN_MS_MAX = 8_000

/** Rejects with the process's own line where it cannot start. */
export async function startNode(options: NodeOptions): Promise<LocalNode> {
  const child = launch(options)
  const exited = exitOf(child)
  const url = await orAborted(readyUrl(child, options), options.signal).catch(async (error) => {
    signalGroup(child, 'SIGKILL') // it served nobody yet
    await exited
    throw error
  })
  return {
    url,
    pid: child.pid!,
    exited,
    stop: async () => {
      child.kill('SIGTERM')
      const impatience = setTimeout(() => signalGroup(child, 'SIGKILL'), STOP_MS_MAX)
      await exited
      clearTimeout(impatience)
    },
    kill: (signal) => {
      child.kill(signal)
    },
  }
}

// V8's heap grows to several times what lives in it where a machine has much memory, by 200 MB in a long batch: half as much again is plenty.
const V8_FLAGS = ['--max-semi-space-size=4', '--heap-growing-percent=40']
// glibc has up to eight heaps a core for threads that ask at once, and keeps what each of them once had.
const HEAPS_OF_THREADS = { MALLOC_ARENA_MAX: '2' }

function launch({ flags, environment, signal: _, log: _log, on_progress: _p, ...options }: NodeOptions): ChildProcess {
  const all = Object.entries({ drain_ms_max: DRAIN_MS_MAX, ...options, ...flags })
  const settings = all.filter(([, value]) => value !== null)
  const args = settings.flatMap(([name, value]) => [value].flat().map((one) => `--${name.replaceAll('_', '-')}=${one}`))
  return spawnTied([process.execPath, ...V8_FLAGS, join(import.meta.dirname, '../gpu-node/main.ts'), ...args], {
    when_orphaned: 'SIGTERM',
    at_once: 'SIGKILL',
    env: { ...HEAPS_OF_THREADS, ...ownEnvironment(), ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
}

/** Ours, whose settings of a node are those of somebody's other node, and whose proxy has no business between our parts. */
function ownEnvironment(): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(([name]) => !name.startsWith('ZIYA_NODE_'))
  return { ...Object.fromEntries(kept), no_proxy: withoutProxy(), NO_PROXY: withoutProxy() }
}

/** The hosts that are asked directly: those of the environment, and this machine. */
export function withoutProxy(): string {
  return [process.env.no_proxy ?? process.env.NO_PROXY ?? '', '127.0.0.1', 'localhost'].filter(Boolean).join(',')
}

function readyUrl(child: ChildProcess, { log, on_progress }: NodeOptions): Promise<string> {
  return new Promise((resolve, reject) => {
    let last_error = 'the node ended without a word'
    createInterface(child.stderr!).on('line', (line) => {
      last_error = line
      log?.(line)
      if (line.startsWith('loading ')) on_progress?.(line)
    })
    createInterface(child.stdout!).on('line', (line) => {
      const { ready, url } = JSON.parse(line) as { ready: boolean; url: string }
      if (ready) resolve(url)
    })
    child.on('error', reject)
    child.on('close', () => reject(new Error(last_error)))
  })
}
