// `npm start`: the whole service on this machine. Postgres, the gateway on workerd and one node come up in that order, a demo
// account asks the model card's own question through the public API, and its bill is printed. Ctrl-C stops every process.

import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import type { Server } from 'node:net'
import { join, relative } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { textNames } from '../gateway/env.ts'
import { orAborted } from './aborted.ts'
import { ask, type Ready } from './ask.ts'
import { CATALOG, watchCatalog } from './catalog.ts'
import { endChildrenAtOnce } from './children.ts'
import { adviceOn } from './database.ts'
import { openDemoAccount } from './demo-account.ts'
import { tryLock } from './folder-lock.mjs'
import { withoutProxy } from './node.ts'
import { exitCodeOf, onSignals } from './signals.mjs'
import { type Stack, startStack } from './stack.ts'
import { readStartOptions, type StartOptions } from './start-options.mjs'

const SIGN_OF_LIFE_MS = 3_000
const LEAVE_MS_MAX = 12_000 // a start whose npm was killed has what runs finished first
const ADVICE: Record<string, string> = {
  EROFS: 'choose a folder that can be written with --data DIR',
  EACCES: 'choose a folder that this user may write with --data DIR',
  ENOSPC: 'the disk is full; make room and start again',
  ERR_MODULE_NOT_FOUND: 'remove node_modules and start again',
}

// All three parts share one machine's cores, as does whatever else runs there: an answer of the database may take
// longer than at the edge before it counts as lost.
const patience = { DATABASE_MS_MAX: '5000' }

const KEPT = new Set(['TICKET_SEEDS', 'ADMIN_KEY', 'DATA_SECRET', 'METRICS_TOKEN', 'LOCAL_MODEL'])

const stop = new AbortController()
let asked: NodeJS.Signals | null = null

onSignals({
  first: (signal) => {
    asked = signal
    stop.abort(new Error(`stopped by ${signal}`))
  },
  second: (signal) => {
    endChildrenAtOnce()
    process.exit(exitCodeOf(signal))
  },
})

// What asks our own parts asks this machine, whatever proxy the way to the world takes.
process.env.no_proxy = withoutProxy()

process.exit(await run().catch(explain))

async function run(): Promise<number> {
  const read = readStartOptions(process.argv.slice(2))
  if (read.options) return await main(read.options)
  ;(read.exit_code === 0 ? console.log : console.error)(read.answer)
  return read.exit_code
}

async function main(options: StartOptions): Promise<number> {
  const { data_dir, once } = options
  const ready_file = join(data_dir, 'ready.json')
  makeFolder(data_dir)
  if (!(await lockOf(data_dir)))
    throw new Error(
      `npm start already runs with the data folder ${data_dir}; stop it, or choose another with --data DIR`,
    )
  rmSync(ready_file, { force: true })
  const signs = signsOfLife()
  const stack = await startStack({
    ...options,
    vars: { ...patience, ...varsIn(process.env) },
    ...signs,
    signal: stop.signal,
  }).finally(signs.end)
  try {
    const ready = await orAborted(introduce(stack, data_dir, ready_file), stop.signal)
    if (once) return 0
    stack.keepUp(console.log)
    watchCatalog(stack.database_url, { file: CATALOG, by: 'npm start' }, console.log)
    console.log(whereAll(ready, data_dir))
    console.log('\nServing until Ctrl-C.')
    await aborted(stop.signal)
    return 0
  } finally {
    rmSync(ready_file, { force: true })
    console.log('\nStopping: what runs is finished first. A second Ctrl-C ends at once.')
    await stack.stop()
  }
}

/** What a person who has just started it looks for. */
function whereAll({ gateway_url, api_key }: Ready, data_dir: string): string {
  const logs = ['gateway', 'node', 'postgres'].map((name) => shown(join(data_dir, `${name}.log`)))
  return [
    '',
    `base URL   ${gateway_url}/v1`,
    `key        ${api_key}`,
    `docs       ${gateway_url}/docs, and ${shown(join(import.meta.dirname, '../docs'))}/`,
    `logs       ${logs.join('  ')}`,
  ].join('\n')
}

function makeFolder(data_dir: string): void {
  try {
    mkdirSync(data_dir, { recursive: true })
  } catch (error) {
    const { code } = error as { code?: string }
    throw new Error(
      `the data folder ${data_dir} cannot be made (${code}): choose one that can be written with --data DIR`,
    )
  }
}

/** The lock of the data folder; one that is just ending is waited for. */
async function lockOf(data_dir: string): Promise<Server | null> {
  for (const deadline = performance.now() + LEAVE_MS_MAX; ; await sleep(200, null, { signal: stop.signal })) {
    const lock = await tryLock('start', data_dir)
    if (lock || performance.now() > deadline) return lock
  }
}

/** The demo account asks its question; whoever else wants to ask finds the address and the keys in `ready_file`. */
async function introduce(stack: Stack, data_dir: string, ready_file: string): Promise<Ready> {
  const account = await openDemoAccount(stack, data_dir)
  const ready = {
    gateway_url: stack.gateway_url,
    api_key: account.api_key,
    admin_key: stack.admin_key,
    metrics_token: stack.metrics_token,
    database_url: stack.database_url,
    node_url: stack.node_url,
    model: stack.model_id,
  }
  writeFileSync(ready_file, `${JSON.stringify(ready, null, 2)}\n`, { mode: 0o600 })
  await ask(ready, stop.signal)
  return ready
}

/** What the environment says of the gateway's secrets and vars (docs/operations.md), but for those that the data folder keeps. */
function varsIn(environment: NodeJS.ProcessEnv): Record<string, string> {
  const named = textNames.filter((name) => !KEPT.has(name) && environment[name])
  return Object.fromEntries(named.map((name) => [name, environment[name]!]))
}

/** A line a stage that is done; while none ends for a while, one that says what is under way. */
function signsOfLife() {
  const begun = performance.now()
  const under_way = new Map<string, string>()
  const signs = setInterval(() => {
    const seconds = ((performance.now() - begun) / 1000).toFixed(0)
    console.log(`  ${Array.from(under_way, ([name, news]) => `${name}: ${news}`).join(', ')} (${seconds} s) …`)
  }, SIGN_OF_LIFE_MS)
  return {
    on_stage: (name: string, seconds: number, detail: string) => {
      under_way.delete(name)
      console.log(`✓ ${name.padEnd(14)} ${seconds.toFixed(1).padStart(5)} s  ${detail}`)
      signs.refresh()
    },
    on_progress: (name: string, news: string) => under_way.set(name, news),
    end: () => clearInterval(signs),
  }
}

function shown(file: string): string {
  const near = relative(process.cwd(), file)
  return near.startsWith('..') ? file : near
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((done) => (signal.aborted ? done() : signal.addEventListener('abort', () => done())))
}

/** One clear line for what went wrong, and the exit code. */
function explain(error: Error & { code?: string }): number {
  if (asked) return exitCodeOf(asked)
  const advice = ADVICE[error.code ?? '']
  console.error(`✗ ${error.message.split('\n')[0]}${advice ? `: ${advice}` : adviceOn(error)}`)
  return 1
}
