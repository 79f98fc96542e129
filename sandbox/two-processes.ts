// A candidate and its judge, each a process of its own: this program carries the frames between them and reads the judge's verdict,
// which begins with a nonce that only the judge was given. Both end with the verdict, or at the wall.

import type { ChildProcess } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import type { Readable, Writable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { oneLine } from './one-line.ts'
import { judge_limits, type Limits, limits_default, type Task, type Verdict } from './sandbox.ts'

export interface Pair {
  candidate: ChildProcess
  /** Reads its job from standard input; frames come on descriptor 3 and go on 4. */
  judge: ChildProcess
  /** How this language's judge reads its job; JSON unless said. */
  job?: (task: Task, nonce: string) => string
}

const said_bytes_max = 1 << 16
const exit_ms_max = 1000
const candidate_ended = "the candidate's process: it ended"

export async function judgeApart(task: Task, start: (limits: Limits, judge_limits: Limits) => Pair): Promise<Verdict> {
  const limits = { ...limits_default, ...task.limits }
  const began = performance.now()
  const { candidate, judge, job = jobOf } = start(limits, { ...judge_limits, ...task.judge_limits })
  const gone = Promise.all([allGone(candidate), allGone(judge)])
  let over_wall = false
  const stop = () => {
    candidate.kill('SIGKILL')
    judge.kill('SIGKILL')
  }
  task.signal?.addEventListener('abort', stop)
  const wall = setTimeout(() => {
    over_wall = true
    stop()
  }, limits.wall_s * 1000)
  carry(candidate.stdout!, judge.stdio[3] as Writable)
  carry(judge.stdio[4] as Readable, candidate.stdin!)
  candidate.stderr?.resume()
  const complaint = firstBytes(judge.stderr!)
  const nonce = randomBytes(16).toString('hex')
  const said = firstBytes(judge.stdout!)
  judge.stdin!.on('error', () => {}).end(`${job(task, nonce)}\n`)
  await endOf(judge)
  const verdict = verdictIn(await said, nonce)
  const complained = verdict ? '' : await complaint
  const code = (verdict?.failure ?? complained).includes(candidate_ended) ? await exitCodeOf(candidate) : null
  stop()
  clearTimeout(wall)
  task.signal?.removeEventListener('abort', stop)
  candidate.stdout!.unpipe().resume()
  await gone
  const seconds = (performance.now() - began) / 1000
  if (over_wall) return { passed: false, failure: `no end within ${limits.wall_s} s`, seconds }
  if (!verdict) return { passed: false, failure: oneLine(explained(lastLine(complained), code, limits)), seconds }
  const failure = verdict.failure === null ? null : oneLine(explained(verdict.failure, code, limits))
  return { passed: verdict.passed, failure, seconds }
}

function jobOf({ language, candidate, tests, context, names }: Task, nonce: string): string {
  const is_typescript = language === 'typescript'
  return JSON.stringify({ nonce, candidate, tests, context: context ?? '', names: names ?? [], is_typescript })
}

function verdictIn(said: string, nonce: string): { passed: boolean; failure: string | null } | null {
  const line = said.split('\n').find((one) => one.startsWith(nonce))
  return line ? JSON.parse(line.slice(nonce.length)) : null
}

/** 137 is what a shell says of a process that was killed: by the kernel, at the limit of its CPU time. */
function explained(failure: string, code: number | null, limits: Limits): string {
  if (!failure.includes(candidate_ended)) return failure
  if (code === 137) return `stopped after ${limits.cpu_s} s of CPU time`
  return code === null ? failure : `it ended the program with status ${code}`
}

/** The code of who ended by itself; one that only closed its pipes has none. */
async function exitCodeOf(candidate: ChildProcess): Promise<number | null> {
  await Promise.race([endOf(candidate), sleep(exit_ms_max)])
  return candidate.exitCode ?? (candidate.signalCode ? 137 : null)
}

const endOf = (child: ChildProcess): Promise<void> =>
  child.exitCode !== null || child.signalCode !== null
    ? Promise.resolve()
    : new Promise((resolve) => child.once('exit', () => resolve()).once('error', () => resolve()))

/** The first of a sandbox's processes ends a moment before the others, which hold its pipes until they end. */
const allGone = ({ stdout, stderr }: ChildProcess) =>
  Promise.all(
    [stdout!, stderr!].map((stream) =>
      stream.closed ? null : new Promise((resolve) => stream.once('close', resolve)),
    ),
  )

const lastLine = (text: string) => text.trim().split('\n').at(-1) || 'the judge ended'

function carry(from: Readable, to: Writable): void {
  from.on('error', () => {})
  to.on('error', () => {}) // the other side is gone: its end is seen by whoever reads
  from.pipe(to)
}

/** A stream to its end, of which no more is kept than fits a verdict. */
function firstBytes(stream: Readable): Promise<string> {
  const chunks: Buffer[] = []
  let size = 0
  stream.on('data', (chunk: Buffer) => {
    if (size < said_bytes_max) chunks.push(chunk)
    size += chunk.length
  })
  return new Promise((resolve) =>
    stream.on('error', () => {}).once('close', () => resolve(Buffer.concat(chunks).toString('utf8'))),
  )
}
