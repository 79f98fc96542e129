// A compiled candidate: compiled and run in the sandbox, its prints compared with those of the expectations, which are a program of
// their own. Neither program sees the other, and the comparison is made here.

import { randomBytes } from 'node:crypto'
import { chownSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { type Confinement, freshUser, isRoot, startConfined } from '../confined.ts'
import { oneLine } from '../one-line.ts'
import { type Limits, limits_default, type Task, type Verdict } from '../sandbox.ts'
import { machineReads } from '../toolchain.ts'
import type { Compiled } from './language.ts'

const compile_limits: Limits = { cpu_s: 60, wall_s: 180, memory_bytes: 2 ** 31 }
const printed_bytes_max = 16 << 20

export async function judgeCompiled(language: Compiled, toolchain: [string, string][], task: Task): Promise<Verdict> {
  const began = performance.now()
  const limits = { ...limits_default, ...task.limits }
  const mark = randomBytes(8).toString('hex')
  const { candidate, expected, lines } = language.programs(task, mark)
  if (lines.length === 0) throw new Error('its tests have no form that is known here')
  const [actual, wanted] = await Promise.all(
    [candidate, expected].map((files) => printsOf(language, toolchain, { ...task, files, limits, mark })),
  )
  const seconds = (performance.now() - began) / 1000
  if (wanted!.values.size < lines.length) throw new Error(`its tests cannot be judged: ${wanted!.complaint}`)
  const failed = lines.findIndex((_, i) => actual!.values.get(i) !== wanted!.values.get(i))
  if (failed < 0) return { passed: true, failure: null, seconds }
  const got = actual!.values.get(failed)
  return {
    passed: false,
    failure: oneLine(`${lines[failed]} # ${got === undefined ? actual!.complaint : `got ${got}`}`),
    seconds,
  }
}

interface Prints {
  values: Map<number, string>
  complaint: string
}

interface Program extends Pick<Task, 'judge_limits' | 'signal'> {
  files: Record<string, string>
  limits: Limits
  mark: string
}

async function printsOf(
  language: Compiled,
  toolchain: [string, string][],
  { files, limits, mark, judge_limits, signal }: Program,
): Promise<Prints> {
  const user = freshUser()
  const folder = mkdtempSync(join(tmpdir(), 'sandbox-build-'))
  try {
    for (const [name, text] of Object.entries(files)) {
      mkdirSync(dirname(join(folder, name)), { recursive: true })
      writeFileSync(join(folder, name), text)
    }
    if (isRoot()) chownSync(folder, user, user)
    const common = { reads: machineReads(toolchain), limits, may_fork: false, needs_proc: true } // the loader reads there where a program lies
    const paths = Object.keys(files).map((name) => `/build/${name}`)
    const compiler = {
      ...common,
      command: environment(language.compile(paths)),
      writes: folder,
      limits: { ...compile_limits, ...judge_limits },
      may_fork: true,
      ...language.compiles_with,
    }
    const compiled = await ended(compiler, user, signal)
    if (compiled.code !== 0)
      return { values: new Map(), complaint: firstError(compiled.complaint) || endOf(compiled, compiler.limits) }
    const run = {
      ...common,
      command: environment(language.run),
      reads: [...common.reads, [folder, '/build'] as [string, string]],
    }
    const { said, ...end } = await ended({ ...run, ...language.runs_with }, user, signal)
    return { values: marked(said, mark), complaint: end.complaint.split('\n')[0] || endOf(end, limits) }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** Compilers are found by their names, and keep what they must in the folder that goes away. */
const environment = (command: string[]) => [
  '/usr/bin/env',
  'PATH=/toolchain/bin:/usr/local/go/bin:/usr/bin:/bin',
  'HOME=/build',
  'TMPDIR=/tmp',
  'GOCACHE=/build/.cache',
  'GO111MODULE=off',
  'CGO_ENABLED=0',
  'GOFLAGS=',
  ...command,
]

function marked(said: string, mark: string): Map<number, string> {
  const lines = said.split('\n').filter((line) => line.startsWith(`${mark} `))
  return new Map(lines.map((line) => [Number(line.split(' ')[1]), canonical(line.split(' ').slice(2).join(' '))]))
}

/** Maps and sets of Rust print in no order. */
function canonical(value: string): string {
  if (!value.startsWith('{') || !value.endsWith('}')) return value
  return `{${value.slice(1, -1).split(', ').toSorted().join(', ')}}`
}

interface End {
  code: number | null
  complaint: string
  over_wall: boolean
}

async function ended(
  confinement: Confinement,
  user: number,
  signal: AbortSignal | undefined,
): Promise<End & { said: string }> {
  signal?.throwIfAborted()
  const child = startConfined(confinement, user)
  child.stdin!.on('error', () => {}).end()
  let over_wall = false
  const stop = () => void child.kill('SIGKILL')
  signal?.addEventListener('abort', stop)
  const wall = setTimeout(() => {
    over_wall = true
    stop()
  }, confinement.limits.wall_s * 1000)
  const [said, complaint] = [child.stdout!, child.stderr!].map((stream) => kept(stream))
  const code = await new Promise<number | null>((resolve) =>
    child.once('close', resolve).once('error', () => resolve(null)),
  )
  clearTimeout(wall)
  signal?.removeEventListener('abort', stop)
  return { code, said: said!(), complaint: complaint!(), over_wall }
}

function kept(stream: NodeJS.ReadableStream): () => string {
  const chunks: Buffer[] = []
  let size = 0
  stream.on('data', (chunk: Buffer) => {
    if (size < printed_bytes_max) chunks.push(chunk)
    size += chunk.length
  })
  return () => Buffer.concat(chunks).toString('utf8')
}

const firstError = (text: string) => text.split('\n').find((line) => /error/i.test(line)) ?? text.split('\n')[0]

function endOf({ code, over_wall }: End, limits: Limits): string {
  if (over_wall) return `no end within ${limits.wall_s} s`
  return code === 137 ? `stopped after ${limits.cpu_s} s of CPU time` : `it ended the program with status ${code}`
}
