// Verdicts: what is right passes, what is wrong fails as plain execution has it, and nothing else passes. `CHEATS=all`, `ATTACKS=all`
// or `npm run test:all` try all of them; by default a few are drawn.

import { execFileSync } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { import_preamble } from '../../eval/run.ts'
import { type Limits, openSandbox, type Sandbox, type Task } from '../../sandbox/sandbox.ts'
import { sampled } from '../eval/drawn.ts'
import { codefuse_failures, codefuse_samples, humanEval } from '../eval/humaneval.ts'
import { draws } from '../support/draws.ts'
import { eventually, HANG_MS_MIN } from '../support/patience.ts'
import { attacks } from './attacks.ts'
import { cheats } from './cheats.ts'
import { confinedProcesses, openHost, secret } from './host.ts'

const { sandbox: strongest, reason } = await openSandbox()
if (reason) console.warn(`bubblewrap's part is skipped: ${reason}`)
const kinds: Sandbox['name'][] = strongest.name === 'bubblewrap' ? ['bubblewrap', 'pyodide'] : ['pyodide']
await strongest.close()

const python = (candidate: string, tests: string, limits: Partial<Limits> = {}): Task => ({
  language: 'python',
  candidate,
  tests,
  limits,
})
const problems = humanEval.problems
const CHEAT_S_MAX = 10
const indent = (text: string) => text.trim().replaceAll(/^/gm, '    ')

describe.each(kinds)('%s', (kind) => {
  let sandbox: Sandbox
  beforeAll(async () => {
    sandbox = (await openSandbox(kind)).sandbox
  })
  afterAll(() => sandbox.close())
  // A process of Pyodide takes seconds to start: where there is bubblewrap, one case stands for the others.
  const alone = strongest.name === 'pyodide' ? 1 : 0
  const few = (bubblewrap: number, pyodide = alone) => (kind === 'bubblewrap' ? bubblewrap : pyodide)

  test('canonical solutions pass', async () => {
    const failed = await filtered(
      sampled(problems, draws('CANONICAL', { few: few(2, 1), all: 164 })),
      async (problem) => {
        const { passed, failure } = await sandbox.judge(problem.task(problem.canonical!))
        return passed ? null : `${problem.id}: ${failure}`
      },
    )
    expect(failed).toEqual([])
  })

  test.runIf(kind === 'pyodide')('it starts where packages lie behind a link', () => {
    const root = join(import.meta.dirname, '../..')
    const folder = mkdtempSync(join(tmpdir(), 'sandbox-linked-'))
    onTestFinished(() => rmSync(folder, { recursive: true }))
    cpSync(join(root, 'sandbox'), join(folder, 'sandbox'), { recursive: true })
    symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'))
    const script = `
      const { pyodideSandbox } = await import('./sandbox/pyodide.ts')
      const task = { language: 'python', candidate: 'f = lambda: 7', tests: 'assert f() == 7' }
      console.log((await pyodideSandbox().judge(task)).passed)`
    const run = ['--input-type=module', '--eval', script]
    expect(execFileSync(process.execPath, run, { cwd: folder, encoding: 'utf8' })).toBe('true\n')
  })

  test("CodeFuse's samples pass where they pass in plain execution, with its preamble and without", async () => {
    const samples = gunzipSync(readFileSync(codefuse_samples))
      .toString('utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    const drawn = sampled([...samples.entries()], draws('CODEFUSE', { few: few(1), all: 164 }))
    const wrong = await filtered(drawn, async ([i, { generation }]) => {
      const task = problems[i]!.task(generation)
      const plain = await sandbox.judge(task)
      const helped = await sandbox.judge({ ...task, candidate: import_preamble + task.candidate })
      const expected = [!codefuse_failures.includes(i), !codefuse_failures.includes(i) || i === 162]
      return plain.passed === expected[0] && helped.passed === expected[1]
        ? null
        : `${i}: ${plain.failure}, ${helped.failure}`
    })
    expect(wrong).toEqual([])
  })

  test('the doors that everything else stands on are shut', async () => {
    const secret_file = import.meta.filename
    const doors: [name: string, body: string][] = [
      ['equality', 'class Equal:\n    __eq__ = lambda *rest: True\nreturn Equal()'],
      ['equality of a list', 'class Equal(list):\n    __eq__ = lambda *rest: True\nreturn Equal()'],
      ['exit', 'import os\nos._exit(0)'],
      ['files', `return open(${JSON.stringify(secret_file)}).read() and 7`],
      ['sockets', 'import socket\nsocket.socket(socket.AF_UNIX).bind("\\0name")\nreturn 7'],
      ['processes', 'import os\nif os.fork() == 0: os._exit(0)\nreturn 7'],
      ['the environment', 'import os\nreturn 7 if "PATH" in os.environ else 0'],
    ]
    const open = await filtered(doors.slice(0, few(doors.length, 2 * alone)), async ([name, body]) => {
      const verdict = await sandbox.judge(python(`def f():\n${indent(body)}\n`, 'assert f() == 7'))
      return verdict.passed ? name : null
    })
    expect(open).toEqual([])
  })

  const pairs = problems.flatMap((problem) => cheats.map((cheat) => ({ problem, cheat })))
  const tried = sampled(pairs, draws('CHEATS', { few: few(2), all: pairs.length }))
  test('no cheat passes', { timeout: HANG_MS_MIN + tried.length * CHEAT_S_MAX * 1000 }, async () => {
    const passed = await filtered(tried, async ({ problem, cheat }) => {
      const candidate = cheat.program(problem.prompt, problem.entry_point!)
      const limits = { cpu_s: 2, wall_s: CHEAT_S_MAX }
      const verdict = await sandbox.judge({ ...problem.task(''), candidate, limits })
      return verdict.passed ? `${problem.id}: ${cheat.name}` : null
    })
    expect(passed).toEqual([])
  })

  test('no attack has an effect, and no process is left', async () => {
    const host = await openHost()
    const reached: string[] = []
    for (const { name, body } of sampled(attacks, draws('ATTACKS', { few: few(3), all: attacks.length }))) {
      const candidate = `def attack():\n${indent(body(host))}\n`
      const tests = 'found = attack()\nassert not found, "REACHED"\n'
      const { passed, failure } = await sandbox.judge(python(candidate, tests, { cpu_s: 1, wall_s: 6 }))
      if (!passed && (failure!.includes(' # got ') || failure!.includes(secret))) reached.push(`${name}: ${failure}`)
      if (failure && /[\p{Cc}\p{Cf}]/u.test(failure)) reached.push(`${name}: control characters`)
      reached.push(...host.effects().map((effect) => `${name}: ${effect}`))
      await eventually(async () => confinedProcesses().length === 0 || null)
    }
    host.close()
    expect(reached).toEqual([])
  })
})

/** What `work` says of each, two at a time. */
async function filtered<T>(items: T[], work: (item: T) => Promise<string | null>): Promise<string[]> {
  const rest = items.values()
  const said: string[] = []
  const worker = async () => {
    for (const item of rest) {
      const line = await work(item)
      if (line) said.push(line)
    }
  }
  await Promise.all([worker(), worker()])
  return said
}
