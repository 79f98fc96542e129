// `npm start`: the whole service on this machine. Postgres, the gateway on workerd and one node come up in that order, a demo
// account asks the model card's own question through the public API, and its bill is printed. Ctrl-C stops every process.

import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { ask } from './ask.ts'
import { openDemoAccount } from './demo-account.ts'
import { startStack } from './stack.ts'

const root = resolve(import.meta.dirname, '..')

const usage = `npm start -- [--port N] [--model DIR] [--database URL] [--data DIR] [--once]
  --port N        the gateway's port (8787)
  --model DIR     a Hugging Face folder to serve instead of models/ziya-coding-mini
  --database URL  a Postgres to use instead of the embedded one
  --data DIR      where the database, the journal and ready.json are kept (.local)
  --once          ask the demo question, print the bill, stop`

interface Options {
  port: number
  model_dir: string
  database_url: string | null
  data_dir: string
  once: boolean
}

const options = readOptions()
const stop = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => stop.abort(signal))

process.exit(await main(options).catch(explain))

async function main({ port, model_dir, database_url, data_dir, once }: Options): Promise<number> {
  const ready_file = join(data_dir, 'ready.json')
  mkdirSync(data_dir, { recursive: true })
  rmSync(ready_file, { force: true })
  const vars = stripeVars()
  const stack = await startStack({
    port,
    model_dir,
    database_url,
    data_dir,
    vars,
    on_stage: printStage,
    signal: stop.signal,
  })
  try {
    const account = await openDemoAccount(stack, data_dir)
    const ready = {
      gateway_url: stack.gateway_url,
      api_key: account.api_key,
      admin_key: stack.admin_key,
      database_url: stack.database_url,
      node_url: stack.node_url,
      model: stack.model_id,
    }
    writeFileSync(ready_file, `${JSON.stringify(ready, null, 2)}\n`, { mode: 0o600 })
    await ask(ready)
    if (once) return 0
    console.log('\nServing until Ctrl-C.')
    const crashed = stack.node.exited.then(({ code, signal }) => {
      if (!stop.signal.aborted) throw new Error(`the node ended by itself (${signal ?? `code ${code}`})`)
    })
    await Promise.race([aborted(stop.signal), crashed])
    return 0
  } finally {
    rmSync(ready_file, { force: true })
    console.log('\nStopping …')
    await stack.stop()
  }
}

/** Payments by Stripe, where the environment has its secrets (wrangler.toml says which). */
function stripeVars(): Record<string, string> {
  const named = Object.entries(process.env).filter(([name, value]) => name.startsWith('STRIPE_') && value)
  return Object.fromEntries(named) as Record<string, string>
}

function readOptions(): Options {
  try {
    const { values } = parseArgs({
      options: {
        port: { type: 'string', default: '8787' },
        model: { type: 'string', default: join(root, 'models', 'ziya-coding-mini') },
        database: { type: 'string' },
        data: { type: 'string', default: join(root, '.local') },
        once: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    })
    if (values.help) throw new Error('')
    const port = Number(values.port)
    if (!Number.isInteger(port) || port < 1 || port > 65_535) throw new Error(`--port ${values.port} is not a port`)
    return {
      port,
      model_dir: resolve(values.model),
      database_url: values.database ?? null,
      data_dir: resolve(values.data),
      once: values.once,
    }
  } catch (error) {
    const message = (error as Error).message
    console.error(message ? `✗ ${message}\n\n${usage}` : usage)
    process.exit(message ? 2 : 0)
  }
}

function printStage(name: string, seconds: number, detail: string): void {
  console.log(`✓ ${name.padEnd(14)} ${seconds.toFixed(1).padStart(5)} s  ${detail}`)
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((done) => (signal.aborted ? done() : signal.addEventListener('abort', () => done())))
}

/** One clear line for what went wrong, and the exit code. */
function explain(error: Error): number {
  if (stop.signal.aborted) return 130
  console.error(`✗ ${error.message.split('\n')[0]}`)
  return 1
}
