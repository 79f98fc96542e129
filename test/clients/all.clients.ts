// `npm run test:clients`: clients that are too large, or of another language, to be installed by every `npm test`. Each is installed
// into a folder of its own (CLIENTS_DIR, else one that is thrown away) and runs its program against one running service. A client that
// cannot be had on this machine is told by its name and skipped.

import { execFile } from 'node:child_process'
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, test } from 'vitest'
import { type Customer, embeddedModel, newCustomer, startTestStack, type TestStack } from '../support/stack.ts'

let stack: TestStack
let api_key: string
const kept = process.env.CLIENTS_DIR
const clients_dir = kept ?? mkdtempSync(join(tmpdir(), 'ziya-clients-'))

beforeAll(async () => {
  stack = await startTestStack(embeddedModel, {}, { WEBHOOK_ALLOWED_RANGES: '127.0.0.0/8' })
  api_key = await keyThatMayAll(await newCustomer(stack))
})
afterAll(async () => {
  await stack?.stop()
  if (!kept) rmSync(clients_dir, { recursive: true, force: true })
})

test.each<[string, 'npm' | 'pip', string, string[]]>([
  ['openai 3 of Python', 'pip', 'openai.py', ['openai>=3,<4']],
  ['openai 2 of Python', 'pip', 'openai.py', ['openai>=2,<3']],
  ['openai 3 of Python on what runs without it', 'pip', 'openai-work.py', ['openai>=3,<4']],
  ['LangChain of Python', 'pip', 'langchain.py', ['langchain-openai']],
  ['LlamaIndex of Python', 'pip', 'llama-index.py', ['llama-index-llms-openai-like']],
  ['LangChain', 'npm', 'langchain.mjs', ['@langchain/openai@^1', '@langchain/core@^1', 'zod@^4']],
  ['OpenAI’s Agents SDK', 'npm', 'openai-agents.mjs', ['@openai/agents@^0.20', 'zod@^4']],
  ['LlamaIndex', 'npm', 'llamaindex.mjs', ['llamaindex', '@llamaindex/openai', 'zod@^4']],
])('%s', async (name, from, program, packages) => {
  const folder = join(clients_dir, name.replaceAll(' ', '-'))
  const absent = await (from === 'npm' ? installByNpm(folder, packages) : installByPip(folder, packages))
  if (absent) {
    console.log(`${name} is absent: ${absent}`)
    return
  }
  const place = join(folder, `client-${program}`) // a file would hide the module of its name
  copyFileSync(join(import.meta.dirname, program), place)
  const command = from === 'npm' ? process.execPath : join(folder, 'venv/bin/python')
  const own = { BASE_URL: `${stack.gateway_url}/v1`, API_KEY: api_key, MODEL: 'ziya-coding-mini' }
  const { stdout } = await run(command, [place], { cwd: folder, env: { ...process.env, ...own } })
  console.log(`${name} works: ${stdout.trim()}`)
})

async function keyThatMayAll({ account_id }: Customer): Promise<string> {
  const made = await fetch(`${stack.gateway_url}/admin/keys`, {
    method: 'POST',
    headers: { authorization: `Bearer ${stack.admin_key}`, 'content-type': 'application/json' },
    body: JSON.stringify({ account_id, name: 'all', scopes: ['admin'] }),
  })
  return ((await made.json()) as { key: string }).key
}

const run = promisify(execFile)
const INSTALL_MS_MAX = 300_000

/** Why they cannot be had; null where they can. */
async function installByNpm(folder: string, packages: string[]): Promise<string | null> {
  if (existsSync(join(folder, 'node_modules'))) return null
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'package.json'), '{"private": true, "type": "module"}')
  return refusalOf('npm', ['install', '--no-audit', '--no-fund', '--ignore-scripts', ...packages], folder)
}

async function installByPip(folder: string, packages: string[]): Promise<string | null> {
  const python = join(folder, 'venv/bin/python')
  mkdirSync(folder, { recursive: true })
  const refused = existsSync(python) ? null : await refusalOf('python3', ['-m', 'venv', 'venv'], folder)
  return refused ?? refusalOf(python, ['-m', 'pip', 'install', '--quiet', '--retries', '0', ...packages], folder)
}

async function refusalOf(command: string, args: string[], cwd: string): Promise<string | null> {
  try {
    await run(command, args, { cwd, timeout: INSTALL_MS_MAX })
    return null
  } catch (error) {
    const { stderr, message } = error as { stderr?: string; message: string }
    return stderr?.trim().split('\n').at(-1) || message
  }
}
