// `npm run eval` against an address that is no one's in particular: it answers as it is told.

import { spawn } from 'node:child_process'
import { globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { readOptions } from '../../eval/options.ts'

const root = join(import.meta.dirname, '../..')
const folder = mkdtempSync(join(tmpdir(), 'eval-main-'))
const problems = join(folder, 'mbpp.jsonl')
writeFileSync(
  problems,
  ['one', 'two']
    .map((name, i) => ({
      text: `Write ${name}.`,
      code: `def ${name}(): return ${i + 1}`,
      task_id: i + 1,
      test_list: [`assert ${name}() == ${i + 1}`],
    }))
    .map((line) => `${JSON.stringify(line)}\n`)
    .join(''),
)

interface Asked {
  path: string
  body: { messages?: { content: string }[]; prompt?: string; seed?: number; temperature: number }
}
let asked: Asked[] = []
let answers: (request: Asked) => { status?: number; headers?: Record<string, string>; body: object }
let server: Server
let base_url: string

beforeAll(async () => {
  server = createServer(async (request, response) => {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk)
    if (request.method === 'GET') return void response.writeHead(404).end('{}')
    const one = { path: request.url!, body: JSON.parse(Buffer.concat(chunks).toString('utf8')) }
    const { status = 200, headers = {}, body } = answers(one)
    asked.push(one)
    response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  base_url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
})
afterAll(() => {
  server.close()
  rmSync(folder, { recursive: true, force: true })
})

const chat = (content: string) => ({
  body: {
    choices: [{ message: { role: 'assistant', content }, finish_reason: 'stop' }],
    usage: { prompt_tokens: 10, completion_tokens: 5 },
  },
})

async function run(...args: string[]) {
  asked = []
  const child = spawn(process.execPath, [join(root, 'eval/main.ts'), ...args], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const texts = { stdout: '', stderr: '' }
  child.stdout.on('data', (data) => (texts.stdout += data))
  child.stderr.on('data', (data) => (texts.stderr += data))
  const code = await new Promise<number | null>((resolve) => child.on('close', resolve))
  return { ...texts, code }
}

const common = (out: string) => [
  '--suite',
  'mbpp',
  '--file',
  problems,
  '--base-url',
  base_url,
  '--model',
  'some-model',
  '--out',
  join(folder, out),
]

test('a chat model is asked, retried, judged; the second run shows what changed', async () => {
  let refused = 0
  answers = ({ body }) => {
    if (refused++ === 0)
      return { status: 429, headers: { 'retry-after': '0' }, body: { error: { message: 'slow down' } } }
    return chat(
      body.messages![0]!.content.includes('one') ? '```python\ndef one():\n    return 1\n```' : 'def two(): return 3',
    )
  }
  const first = await run(...common('a'), '--json', '--price', '1,2')
  expect(first.code, first.stderr).toBe(0)
  expect(JSON.parse(first.stdout)).toMatchObject({
    passed: 1,
    total: 2,
    pass_at_k: { 1: 0.5 },
    results: {
      'Mbpp/1': { passed: true, failure: null },
      'Mbpp/2': { passed: false, failure: 'assert two() == 2 # got 3' },
    },
    tokens_in: 20,
    tokens_out: 10,
  })
  expect(asked.every(({ path, body }) => path === '/v1/chat/completions' && body.temperature === 0)).toBe(true)
  expect(first.stderr).toMatch(/2 questions, at most 1024 tokens out, at most \$0\.00/)
  expect(first.stderr).toMatch(/1 more: by the first answer about a minute or more, \$0\.0000/)
  expect(first.stderr).toMatch(/2\/2 {2}pass 50\.0 % \[9\.5 %, 90\.5 %\]/)

  answers = ({ body }) =>
    chat(body.messages![0]!.content.includes('one') ? 'def one(): raise ValueError("no")' : 'def two(): return 2')
  const second = await run(...common('a'), '--fresh')
  expect(second.stdout).toContain('✗ Mbpp/1  assert one() == 1 # ValueError: no')
  expect(second.stdout).toMatch(/1 fixed: Mbpp\/2, 1 broken: Mbpp\/1/)
})

test('n samples a problem are asked with seeds of their own, and pass@k needs no more', async () => {
  answers = ({ body }) => chat(body.seed === 0 ? 'def one(): return 1\ndef two(): return 2' : 'nothing')
  const { stdout, code } = await run(...common('n'), '--json', '--n', '4', '--k', '1,4', '--temperature', '0.8')
  expect(code).toBe(0)
  const result = JSON.parse(stdout)
  expect(result).toMatchObject({ passed: 2, total: 8, pass_at_k: { 1: 0.25, 4: 1 } })
  expect(result.results['Mbpp/1'].samples.map((one: { passed: boolean }) => one.passed)).toEqual([
    true,
    false,
    false,
    false,
  ])
  expect(asked.map(({ body }) => body.seed).toSorted()).toEqual([0, 0, 1, 1, 2, 2, 3, 3])
})

test('a prompt that is too long is a failure of its problem; a wrong key ends the run', async () => {
  answers = ({ body }) =>
    body.messages![0]!.content.includes('one')
      ? { status: 400, body: { error: { message: 'This prompt is too long', code: 'context_length_exceeded' } } }
      : chat('def two(): return 2')
  const { stdout } = await run(...common('long'), '--json')
  expect(JSON.parse(stdout).results['Mbpp/1'].failure).toContain('too long')

  answers = () => ({ status: 401, body: { error: { message: 'Incorrect API key' } } })
  const refused = await run(...common('key'))
  expect(refused.code).toBe(1)
  expect(refused.stderr).toMatch(/^✗ 401 Incorrect API key$/m)
  expect(refused.stderr).not.toMatch(/^\s+at /m)
})

test('samples are scored without a model, and score as they did', async () => {
  answers = ({ body }) =>
    chat(body.messages![0]!.content.includes('one') ? 'def one(): return 1' : 'def two(): return 3')
  await run(...common('own'))
  const [file] = globSync('own/*/samples.jsonl', { cwd: folder })
  const scored = await run(
    '--suite',
    'mbpp',
    '--file',
    problems,
    '--samples',
    join(folder, file!),
    '--json',
    '--out',
    join(folder, 'scored'),
  )
  expect(asked).toEqual([])
  expect(JSON.parse(scored.stdout)).toMatchObject({ passed: 1, total: 2 })
  const results = globSync('scored/*/results.jsonl', { cwd: folder }).map((one) =>
    readFileSync(join(folder, one), 'utf8'),
  )
  expect(results[0]).toContain('"result":"failed: assert two() == 2 # got 3"')
})

test('a wrong option is refused in one line, and so is a file that is not there', async () => {
  const { stderr, code } = await run('--samples', '/nowhere.jsonl')
  expect(code).toBe(1)
  expect(stderr).toMatch(/^✗ .*nowhere\.jsonl/m)
  expect(stderr).not.toMatch(/^\s+at /m)
})

test.each([
  [['--n', '0'], '--n 0 is not a whole number from 1'],
  [['--k', '5'], '--k 5 needs as many samples: --n 5'],
  [['--nonsense'], "Unknown option '--nonsense'"],
  [['--base-url', 'nowhere'], '--base-url nowhere is no http address'],
  [['--temperature', ''], '--temperature  is not between 0 and 2'],
  [['--price', '1'], '--price 1 is not IN,OUT in dollars'],
  [['--sandbox', 'x'], '--sandbox x: there are bubblewrap and pyodide'],
])('%j: %s', (args, message) => {
  expect(() => readOptions(args)).toThrow(message)
})
