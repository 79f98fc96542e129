// The processes that judge candidates beside the node: few, each with one candidate at a time. Accounts take turns, so that one whose
// tests take long delays another by what runs. A process that does not answer in time is killed, and another takes its place.

import { type ChildProcess, spawn } from 'node:child_process'
import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import type { VerifiedLanguage } from '../../../contract/internal/generation.ts'
import type { FromJudge, JudgedTask, ToJudge, Verdict } from './judge-messages.ts'

export interface JudgesOptions {
  /** Of its own: what judges build lies there, and is gone with them. */
  folder: string
  processes_max: number
  /** The program of a judge, instead of ours. */
  program?: string
}

interface Waiting {
  task: JudgedTask
  signal: AbortSignal
  answer: (verdict: Verdict) => void
}

// Compiling and running have a wall each; what is still silent then hangs.
const TASK_MS_MAX = 75_000
const STOP_MS_MAX = 2000
const START_MS_MAX = 30_000

const LOST: Verdict = { passed: false, failure: 'it could not be judged' }
const LATE: Verdict = { passed: false, failure: 'no verdict in time' }

export class Judges {
  readonly languages: readonly VerifiedLanguage[]
  readonly #options: JudgesOptions
  readonly #waiting = new Map<string, Waiting[]>() // by account, the next one first
  readonly #idle: Judge[] = []
  readonly #all = new Set<Judge>()
  #is_closed = false

  /** Rejects where nothing can be confined here, and says why. */
  static async open(options: JudgesOptions): Promise<Judges> {
    rmSync(options.folder, { recursive: true, force: true })
    mkdirSync(options.folder, { recursive: true })
    const first = new Judge(options)
    const languages = await first.started.catch((error: Error) => {
      first.kill()
      throw error
    })
    return new Judges(options, first, languages)
  }

  private constructor(options: JudgesOptions, first: Judge, languages: VerifiedLanguage[]) {
    this.#options = options
    this.languages = languages
    this.#all.add(first)
    this.#idle.push(first)
  }

  /** The verdict on a candidate, when its account's turn has come. Once the signal is aborted it is of no use, and may never come. */
  judge(task: JudgedTask, { account, signal }: { account: string; signal: AbortSignal }): Promise<Verdict> {
    const { promise, resolve } = Promise.withResolvers<Verdict>()
    const own = this.#waiting.get(account)
    if (own) own.push({ task, signal, answer: resolve })
    else this.#waiting.set(account, [{ task, signal, answer: resolve }])
    this.#handOut()
    return promise
  }

  close(): void {
    this.#is_closed = true
    this.#waiting.clear()
    for (const judge of this.#all) judge.kill()
    rmSync(this.#options.folder, { recursive: true, force: true })
  }

  #handOut(): void {
    while (!this.#is_closed && this.#waiting.size > 0) {
      const judge = this.#idle.pop() ?? this.#another()
      if (!judge) return
      const next = this.#next()
      if (next) void this.#work(judge, next)
      else this.#idle.push(judge)
    }
  }

  #another(): Judge | null {
    if (this.#all.size >= this.#options.processes_max) return null
    const judge = new Judge(this.#options)
    this.#all.add(judge)
    return judge
  }

  /** Of the account whose turn it is; null where all that is left was stopped. */
  #next(): Waiting | null {
    for (const [account, own] of this.#waiting) {
      this.#waiting.delete(account)
      const next = own.find(({ signal }) => !signal.aborted)
      const rest = next ? own.slice(own.indexOf(next) + 1) : []
      if (rest.length > 0) this.#waiting.set(account, rest) // behind the others
      if (next) return next
    }
    return null
  }

  async #work(judge: Judge, { task, signal, answer }: Waiting): Promise<void> {
    answer(await judge.judge(task, signal))
    if (judge.is_alive) this.#idle.push(judge)
    else this.#all.delete(judge)
    this.#handOut()
  }
}

/** One process. */
class Judge {
  readonly started: Promise<VerifiedLanguage[]>
  readonly #process: ChildProcess
  readonly #folder: string
  #said = Promise.withResolvers<FromJudge | null>()
  is_alive = true

  constructor({ folder, program = join(import.meta.dirname, 'judge-process.ts') }: JudgesOptions) {
    this.#folder = join(folder, crypto.randomUUID())
    mkdirSync(this.#folder)
    // The kernel ends it with us, however we end; what it confines ends with it.
    this.#process = spawn('/usr/bin/setpriv', ['--pdeathsig=KILL', '--', process.execPath, program], {
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
      env: { TMPDIR: this.#folder, PATH: process.env.PATH },
    })
    this.#process.on('message', (message: FromJudge) => this.#said.resolve(message))
    this.#process.on('error', () => this.#lose())
    this.#process.on('exit', () => this.#lose())
    this.started = this.#start()
    this.started.catch(() => {}) // it is told with the first task
  }

  async judge(task: JudgedTask, signal: AbortSignal): Promise<Verdict> {
    if (!(await this.started.catch(() => null))) return this.#lost(LOST)
    if (signal.aborted) return LOST
    const late = setTimeout(() => this.kill(), TASK_MS_MAX)
    let impatient: NodeJS.Timeout | undefined
    const stop = () => {
      this.#tell({ kind: 'stop' })
      impatient = setTimeout(() => this.kill(), STOP_MS_MAX)
    }
    signal.addEventListener('abort', stop)
    this.#said = Promise.withResolvers()
    this.#tell({ kind: 'judge', task })
    const said = await this.#said.promise
    signal.removeEventListener('abort', stop)
    clearTimeout(late)
    clearTimeout(impatient)
    return said?.kind === 'judged' ? said.verdict : this.#lost(LATE)
  }

  kill(): void {
    this.is_alive = false
    this.#process.kill('SIGKILL')
  }

  async #start(): Promise<VerifiedLanguage[]> {
    const late = setTimeout(() => this.kill(), START_MS_MAX)
    const said = await this.#said.promise
    clearTimeout(late)
    if (said?.kind === 'able') return said.languages
    throw new Error(said?.kind === 'unable' ? said.reason : 'the process that judges candidates ended')
  }

  #tell(message: ToJudge): void {
    if (this.#process.connected) this.#process.send(message)
  }

  #lost(verdict: Verdict): Verdict {
    this.kill()
    return verdict
  }

  #lose(): void {
    this.is_alive = false
    this.#said.resolve(null)
    rmSync(this.#folder, { recursive: true, force: true })
  }
}
