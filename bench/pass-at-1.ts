// `npm run pass-at-1`: pass@1, greedy, through the public API. Every answer's code runs with its unit tests in the sandbox.
//   --suite held-out (default) | humaneval   --file F   the problems, where they are not those of the suite
//   --url U --key K                          an API that is up already; otherwise one is started with the embedded model
//   --limit N  --model ID  --out F           F receives one JSON line a problem
// HumanEval is asked as the model card asks it.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { gunzipSync } from 'node:zlib'
import OpenAI from 'openai'
import { openDemoAccount } from '../local/demo-account.ts'
import { startStack } from '../local/stack.ts'
import { codeIn, PythonSandbox } from './python-sandbox.ts'

interface Problem {
  id: string
  lang: string
  prompt: string // the user's message
  program: (answer: string) => string // the answer's code with its tests
}

interface Verdict {
  id: string
  lang: string
  passed: boolean
  error: string | null
  answer: string
}

const root = resolve(import.meta.dirname, '..')
const asked_at_once = 16

const { values: options } = parseArgs({
  options: {
    suite: { type: 'string', default: 'held-out' },
    file: { type: 'string' },
    url: { type: 'string' },
    key: { type: 'string' },
    model: { type: 'string', default: 'ziya-coding-mini' },
    limit: { type: 'string', default: '1000000' },
    out: { type: 'string' },
  },
})

const suites: Record<string, { file: string; reader: (line: string) => Problem }> = {
  'held-out': { file: join(root, 'models/ziya-coding-mini/held-out.jsonl'), reader: heldOut },
  humaneval: { file: join(root, 'test/data/humaneval/HumanEval.jsonl.gz'), reader: humanEval },
}
const suite = suites[options.suite]
if (!suite) throw new Error(`--suite ${options.suite}: there are ${Object.keys(suites).join(' and ')}`)

const api = options.url && options.key ? { url: options.url, key: options.key, stop: async () => {} } : await ownApi()
try {
  const problems = readLines(options.file ?? suite.file)
    .map(suite.reader)
    .slice(0, Number(options.limit))
  const answers = await askAll(problems)
  const verdicts = await judgeAll(problems, answers)
  if (options.out) writeFileSync(options.out, verdicts.map((verdict) => `${JSON.stringify(verdict)}\n`).join(''))
  report(verdicts)
} finally {
  await api.stop()
}

function readLines(file: string): string[] {
  const bytes = readFileSync(file)
  const text = (file.endsWith('.gz') ? gunzipSync(bytes) : bytes).toString('utf8')
  return text.split('\n').filter((line) => line.length > 0)
}

function heldOut(line: string): Problem {
  const { id, lang, prompt, tests } = JSON.parse(line)
  return { id, lang, prompt, program: (answer) => `${codeIn(answer)}\n${[tests].flat().join('\n')}\n` }
}

/** The function may come whole or as a body that continues the prompt; both are how models answer the card's question. */
function humanEval(line: string): Problem {
  const { task_id, prompt, test, entry_point } = JSON.parse(line)
  const program = (answer: string) => {
    const code = codeIn(answer)
    const whole = code.includes(`def ${entry_point}(`) ? `${prompt}    pass\n\n${code}` : prompt + code
    return `${whole}\n${test}\ncheck(${entry_point})\n`
  }
  const question = `Please Complete the given function below according to the docstring: \n${prompt}`
  return { id: task_id, lang: 'en', prompt: question, program }
}

async function ownApi() {
  const data_dir = mkdtempSync(join(tmpdir(), 'pass-at-1-'))
  const model_dir = join(root, 'models', 'ziya-coding-mini')
  const stack = await startStack({ port: 0, model_dir, database_url: null, data_dir })
  const { api_key } = await openDemoAccount(stack, data_dir)
  const stop = async () => {
    await stack.stop()
    rmSync(data_dir, { recursive: true })
  }
  return { url: stack.gateway_url, key: api_key, stop }
}

async function askAll(problems: Problem[]): Promise<string[]> {
  const client = new OpenAI({ baseURL: `${api.url}/v1`, apiKey: api.key })
  const answers: string[] = []
  let next = 0
  const asker = async () => {
    for (let i = next++; i < problems.length; i = next++) {
      const messages = [{ role: 'user' as const, content: problems[i]!.prompt }]
      const body = { model: options.model, messages, temperature: 0 }
      const completion = await client.chat.completions.create(body).catch((error) => {
        if (error.code === 'context_length_exceeded') return null // a prompt this model cannot read is a problem it fails
        throw error
      })
      answers[i] = completion?.choices[0]?.message.content ?? ''
      progress('asked', i + 1, problems.length)
    }
  }
  await Promise.all(Array.from({ length: asked_at_once }, asker))
  return answers
}

async function judgeAll(problems: Problem[], answers: string[]): Promise<Verdict[]> {
  const sandbox = new PythonSandbox()
  const verdicts: Verdict[] = []
  for (const [i, { id, lang, program }] of problems.entries()) {
    const answer = answers[i]!
    const { ok, error } = await sandbox.run(program(answer))
    verdicts.push({ id, lang, passed: ok, error, answer })
    progress('judged', i + 1, problems.length)
  }
  await sandbox.close()
  return verdicts
}

function progress(what: string, done: number, total: number): void {
  if (process.stderr.isTTY) process.stderr.write(`\r${what} ${done} of ${total}${done === total ? '\n' : ''}`)
}

function report(verdicts: Verdict[]): void {
  for (const lang of ['zh', 'en']) {
    const those = verdicts.filter((verdict) => verdict.lang === lang)
    if (those.length > 0) console.log(line(lang, those))
  }
  console.log(line(`${options.suite} pass@1`, verdicts))
}

function line(name: string, verdicts: Verdict[]): string {
  const passed = verdicts.filter((verdict) => verdict.passed).length
  return `${name.padEnd(18)} ${passed} of ${verdicts.length}  ${((100 * passed) / verdicts.length).toFixed(1)} %`
}
