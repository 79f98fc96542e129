// A whole run against the service that `npm start` starts: it is killed in the middle, goes on where it was, and its samples score the
// same when prompt, sample and test simply run as one program.

import { spawn } from 'node:child_process'
import { appendFileSync, existsSync, globSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openSandbox } from '../../sandbox/sandbox.ts'
import { eventually, newCustomer, startTestStack, type TestStack } from '../support/stack.ts'
import { humanEval } from './humaneval.ts'

const root = join(import.meta.dirname, '../..')
const out = mkdtempSync(join(tmpdir(), 'eval-run-'))
const problems = 5
const before_kill = 2

let stack: TestStack
let api_key: string
let door: Door
beforeAll(async () => {
  stack = await startTestStack()
  api_key = (await newCustomer(stack)).api_key
  door = await openDoor(stack.gateway_url)
})
afterAll(async () => {
  door?.server.close()
  await stack?.stop()
  rmSync(out, { recursive: true, force: true })
})

test('a run that is killed goes on where it was, and asks nothing twice', async () => {
  door.closes_after = before_kill
  const killed = start()
  await eventually(async () => (door.held > 0 && samples().length === before_kill ? true : null))
  killed.child.kill('SIGKILL')
  await killed.ended
  const kept = samples()
  // What a write that a crash cut short leaves.
  appendFileSync(samplesFile()!, '{"task_id": "HumanEval/2", "compl')

  door.closes_after = Number.POSITIVE_INFINITY
  const { stdout, code } = await start().ended
  expect(code).toBe(0)
  const result = JSON.parse(stdout)
  expect(result).toMatchObject({ suite: 'humaneval', total: problems, model: 'ziya-coding-mini' })
  expect(Object.keys(result.results)).toEqual(humanEval.problems.slice(0, problems).map(({ id }) => id))
  expect(samples().slice(0, before_kill)).toEqual(kept)
  expect(
    samples()
      .map(({ task_id }) => task_id)
      .toSorted(),
  ).toEqual(Object.keys(result.results).toSorted())
  expect(door.answered).toBe(problems)
  expect(await plainly()).toEqual(
    Object.fromEntries(Object.entries<{ passed: boolean }>(result.results).map(([id, { passed }]) => [id, passed])),
  )
})

test('a finished run asks nothing, and shows what changed since', async () => {
  const answered = door.answered
  const { stdout, code } = await start({ json: false }).ended
  expect(code).toBe(0)
  expect(door.answered).toBe(answered)
  expect(stdout).toMatch(/since .*: 0 fixed, 0 broken/)
})

function start({ json = true } = {}) {
  const asked = [
    '--base-url',
    door.url,
    '--key',
    api_key,
    '--model',
    'ziya-coding-mini',
    '--out',
    out,
    '--limit',
    String(problems),
  ]
  const args = [...asked, '--max-tokens', '48', '--concurrency', '1', ...(json ? ['--json'] : [])]
  const child = spawn(process.execPath, [join(root, 'eval/main.ts'), ...args], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let stdout = ''
  child.stdout.on('data', (data) => (stdout += data))
  child.stderr.resume()
  const ended = new Promise<{ stdout: string; code: number | null }>((resolve) =>
    child.on('close', (code) => resolve({ stdout, code })),
  )
  return { child, ended }
}

/** Each sample with its problem's prompt and test as one program, in one process. */
async function plainly(): Promise<Record<string, boolean>> {
  const { sandbox } = await openSandbox()
  const passed: Record<string, boolean> = {}
  for (const { task_id, completion } of samples()) {
    const { prompt, task } = humanEval.problems.find(({ id }) => id === task_id)!
    const program = `${prompt}${completion}\n${task('').tests}`
    passed[task_id] = (await sandbox.judge({ language: 'python', candidate: program, tests: '' })).passed
  }
  await sandbox.close()
  return passed
}

function samplesFile(): string | null {
  const [folder] = globSync('humaneval-ziya-coding-mini-*/', { cwd: out })
  return folder ? join(out, folder, 'samples.jsonl') : null
}

function samples(): { task_id: string; completion: string }[] {
  const file = samplesFile()
  if (!file || !existsSync(file)) return []
  return readFileSync(file, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
}

interface Door {
  server: Server
  url: string
  answered: number
  held: number
  closes_after: number
}

/** Passes questions on, until so many are answered; those after are held. */
async function openDoor(target: string): Promise<Door> {
  const server = createServer(async (request, response) => {
    const is_question = request.method === 'POST'
    if (is_question && opened.answered >= opened.closes_after) {
      opened.held++
      return
    }
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk)
    const headers = { authorization: request.headers.authorization!, 'content-type': 'application/json' }
    const body = is_question ? { body: Buffer.concat(chunks) } : {}
    const answer = await fetch(target + request.url, { method: request.method!, headers, ...body })
    const text = await answer.text()
    if (is_question) opened.answered++
    response.writeHead(answer.status, { 'content-type': 'application/json' }).end(text)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`
  const opened: Door = { server, url, answered: 0, held: 0, closes_after: Number.POSITIVE_INFINITY }
  return opened
}
