// A start in a clone, watched from outside: what it prints, what it started, and whether anything of it is left.

import { type ChildProcess, spawn } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { root } from './clone.ts'

export const HANG_MS_MAX = 30_000

// A row ends by its own deadlines, which know how busy the machine is (`until`); this one is for a fault of the row itself.
export const ROW_MS_MAX = 1_800_000

export interface Run {
  child: ChildProcess
  clone: string
  data: string
  mark: string
  output: () => string
  ended: Promise<number | null>
}

export interface LaunchOptions {
  clone: string
  data?: string
  args?: string[]
  env?: NodeJS.ProcessEnv
  /** npm start, as a person does it; or the file that it runs, by an older Node or without npm. */
  by?: 'npm' | 'node'
  before?: string // a shell's words before it, such as umask 077
  user_id?: number
}

export function launch({
  clone,
  data = join(clone, '.local'),
  args = [],
  env = {},
  by = 'npm',
  before,
  user_id,
}: LaunchOptions): Run {
  const mark = `ground-${crypto.randomUUID()}`
  const words = by === 'npm' ? [npm, 'start', '--'] : [process.execPath, 'local/bootstrap.mjs', 'start']
  const command = [...words, ...(args.length > 0 ? args : ['--data', data])]
  const [file, ...rest] = before ? ['sh', '-c', `${before}; exec "$@"`, 'sh', ...command] : command
  const child = spawn(file!, rest, {
    cwd: clone,
    env: { ...withoutNpm(), ZIYA_GROUND_MARK: mark, ZIYA_REAL: root, ZIYA_PAUSE: '0.02', ...env },
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    ...(user_id !== undefined && { uid: user_id, gid: user_id }),
  })
  let output = ''
  for (const stream of [child.stdout!, child.stderr!]) stream.on('data', (text) => (output += text))
  const ended = new Promise<number | null>((resolve) => child.on('close', resolve))
  return { child, clone, data, mark, output: () => output, ended }
}

const npm = process.env.PATH!.split(':').flatMap((folder) => {
  try {
    return readdirSync(folder).includes('npm') ? [join(folder, 'npm')] : []
  } catch {
    return []
  }
})[0]!

// These tests run under npm themselves.
function withoutNpm(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(npm_|NODE_|VITEST)/.test(name)))
}

/** Fails after so long in which the machine had time for us: what waits for a processor hangs no longer than the others let it. */
export async function until(what: string, isSo: () => boolean | Promise<boolean>, ms_max = HANG_MS_MAX): Promise<void> {
  let waited_ms = 0
  for (let last = performance.now(); !(await isSo()); await sleep(10)) {
    const now = performance.now()
    waited_ms += (now - last) * idleShare()
    last = now
    if (waited_ms > ms_max) throw new Error(`not within ${ms_max} ms: ${what}`)
  }
}

/** Fails with what it printed, at once where it ends instead. */
export async function untilItServes(run: Run, ms_max: number): Promise<void> {
  let code: number | null | undefined
  void run.ended.then((ended) => (code = ended))
  const says = () => run.output().includes('Serving until')
  await until('it serves', () => says() || code !== undefined, ms_max).catch((error) => {
    throw new Error(`${error.message}\n${run.output()}`)
  })
  if (!says()) throw new Error(`it ended with ${code}: ${run.output()}`)
}

// The kernel's own measure of how much of the time somebody waits for a processor (docs.kernel.org/accounting/psi.html).
const IDLE_SHARE_MIN = 0.1

function idleShare(): number {
  const waiting_percent = /some avg10=([\d.]+)/.exec(read('/proc/pressure/cpu'))?.[1] ?? '0'
  return Math.max(IDLE_SHARE_MIN, 1 - Number(waiting_percent) / 100)
}

/** The processes that this start began, by their command lines. */
export function processesOf({ mark }: Run): { pid: number; command: string }[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && read(`/proc/${name}/environ`).includes(mark))
    .map((pid) => ({ pid: Number(pid), command: read(`/proc/${pid}/cmdline`).replaceAll('\0', ' ') }))
    .filter(({ command }) => command !== '') // a zombie has none
}

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return '' // it ended meanwhile
  }
}

export async function nothingLeft(run: Run): Promise<void> {
  await until('nothing of it runs', () => processesOf(run).length === 0).catch((error) => {
    const left = processesOf(run)
    for (const { pid } of left) process.kill(pid, 'SIGKILL')
    throw new Error(`${error.message}\n${left.map(({ command }) => command).join('\n')}\n${run.output()}`)
  })
}
