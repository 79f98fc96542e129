// The processes that judge beside a node: real sandboxes where bubblewrap is, and a program that answers as a test wants for all that is
// about turns, hanging and ending.

import { spawn } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import type { JudgedTask } from '../../../../gpu-node/run/verified/judge-messages.ts'
import { Judges } from '../../../../gpu-node/run/verified/judges.ts'
import { openSandbox } from '../../../../sandbox/sandbox.ts'
import { temporaryFolder } from '../../../support/fake-node.ts'
import { eventually } from '../../../support/patience.ts'

const { sandbox, reason } = await openSandbox()
await sandbox.close()
const is_confined = reason === null

const task = (candidate: string, tests = 'assert f() == 1'): JudgedTask => ({
  ...{ language: 'python', candidate, tests, context: '', cpu_s: 5 },
})
const RIGHT = 'def f(): return 1'
const never = new AbortController().signal

async function open(program?: string, processes_max = 1): Promise<{ judges: Judges; folder: string }> {
  const folder = join(temporaryFolder(), 'judges')
  const judges = await Judges.open({ folder, processes_max, ...(program && { program }) })
  onTestFinished(() => judges.close())
  return { judges, folder }
}

/** A judge that passes all but: 'die' ends it, 'hang' waits for a stop, and 'deaf' hears none. */
function scripted(): string {
  const file = join(temporaryFolder(), 'judge.mjs')
  writeFileSync(
    file,
    `process.once('disconnect', () => process.exit())
     const judged = () => process.send({ kind: 'judged', verdict: { passed: true, failure: process.pid + '' } })
     let is_deaf = false
     process.on('message', ({ kind, task }) => {
       if (kind === 'stop') return is_deaf || judged()
       if (task.candidate === 'die') process.exit(1)
       is_deaf = task.candidate === 'deaf'
       if (!is_deaf && task.candidate !== 'hang') judged()
     })
     process.send({ kind: 'able', languages: ['python'] })`,
  )
  return file
}

test.runIf(is_confined)(
  'verdicts are those of the sandbox, and processes and files are gone with the judges',
  async () => {
    const { judges, folder } = await open()
    expect(judges.languages).toContain('python')
    const verdict = (candidate: string) => judges.judge(task(candidate), { account: 'a', signal: never })
    expect(await verdict(RIGHT)).toEqual({ passed: true, failure: null })
    expect(await verdict('def f(): return 2')).toEqual({ passed: false, failure: 'assert f() == 1 # got 2' })
    expect((await verdict('import os\nos._exit(0)')).passed).toBe(false)
    const mine = confined(folder)
    expect(mine.length).toBeGreaterThan(0)
    judges.close()
    await eventually(async () => (mine.every((pid) => !existsSync(`/proc/${pid}`)) ? true : null))
    expect(existsSync(folder)).toBe(false)
  },
)

test.runIf(is_confined)('a candidate that is stopped ends at once, and the next one is judged', async () => {
  const { judges } = await open()
  const stopping = new AbortController()
  const endless = judges.judge(task('def f():\n    while True: pass'), { account: 'a', signal: stopping.signal })
  stopping.abort()
  await endless
  expect(await judges.judge(task(RIGHT), { account: 'a', signal: never })).toMatchObject({ passed: true })
})

test.runIf(is_confined)('what a node that was killed had confined ends with it', async () => {
  const folder = join(temporaryFolder(), 'judges')
  const judges = new URL('../../../../gpu-node/run/verified/judges.ts', import.meta.url).pathname
  const program = `const { Judges } = await import(${JSON.stringify(judges)})
    const judges = await Judges.open({ folder: ${JSON.stringify(folder)}, processes_max: 1 })
    judges.judge(${JSON.stringify(task('def f():\n    while True: pass'))}, { account: 'a', signal: new AbortController().signal })
    console.log('judging')`
  const node = spawn(process.execPath, ['--input-type=module', '-e', program], { stdio: ['ignore', 'pipe', 'inherit'] })
  onTestFinished(() => void node.kill('SIGKILL'))
  await new Promise((resolve) => node.stdout.once('data', resolve))
  const { value: mine } = await eventually(async () => nonEmpty(confined(folder)))
  node.kill('SIGKILL')
  await eventually(async () => (mine.every((pid) => !existsSync(`/proc/${pid}`)) ? true : null))
})

const nonEmpty = <T>(all: T[]): T[] | null => (all.length > 0 ? all : null)

/** The judges that were given a part of this folder. */
function confined(folder: string): string[] {
  return readdirSync('/proc').filter((pid) => /^\d+$/.test(pid) && environmentOf(pid).includes(`TMPDIR=${folder}/`))
}

function environmentOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/environ`, 'utf8')
  } catch {
    return '' // it ended
  }
}

test('where nothing can be confined it says why', async () => {
  const file = join(temporaryFolder(), 'judge.mjs')
  writeFileSync(file, `process.send({ kind: 'unable', reason: 'bubblewrap is not installed' })`)
  await expect(open(file)).rejects.toThrow('bubblewrap is not installed')
  writeFileSync(file, 'process.exit(1)')
  await expect(open(file)).rejects.toThrow('the process that judges candidates ended')
})

test('accounts take turns', async () => {
  const { judges } = await open(scripted())
  const order: string[] = []
  const stopping = new AbortController()
  const ask = (account: string, candidate: string, signal = never) =>
    judges.judge(task(candidate), { account, signal }).then(() => order.push(account))
  const first = ask('many', 'hang', stopping.signal)
  const rest = ['many', 'many', 'many', 'one'].map((account) => ask(account, RIGHT))
  stopping.abort()
  await Promise.all([first, ...rest])
  expect(order).toEqual(['many', 'many', 'one', 'many', 'many'])
})

test('a judge that dies fails its candidate alone, and another takes its place', async () => {
  const { judges } = await open(scripted())
  const dying = judges.judge(task('die'), { account: 'a', signal: never })
  const next = judges.judge(task(RIGHT), { account: 'a', signal: never })
  expect(await dying).toEqual({ passed: false, failure: 'no verdict in time' })
  expect(await next).toMatchObject({ passed: true })
})

test('a judge that hears no stop is killed, and those that were stopped while they waited are not judged', async () => {
  const { judges } = await open(scripted())
  const stopping = new AbortController()
  const deaf = judges.judge(task('deaf'), { account: 'a', signal: stopping.signal })
  void judges.judge(task('die'), { account: 'a', signal: stopping.signal })
  const next = judges.judge(task(RIGHT), { account: 'a', signal: never })
  stopping.abort()
  expect(await deaf).toMatchObject({ passed: false })
  expect(await next).toMatchObject({ passed: true })
})

test('there are no more processes than are allowed', async () => {
  const { judges } = await open(scripted(), 2)
  const all = Array.from({ length: 5 }, () => judges.judge(task(RIGHT), { account: 'a', signal: never }))
  const pids = new Set((await Promise.all(all)).map(({ failure }) => failure))
  expect(pids.size).toBeLessThanOrEqual(2)
})
