// The three parts on this machine, for `npm start`, the benches and the end-to-end tests: Postgres, the gateway and one node,
// started as far as possible at once and stopped in the order that loses nothing (node, gateway, Postgres).

import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { startGateway } from './gateway.ts'
import { migrate } from './migrate.ts'
import { startNode } from './node.ts'
import { freePort, requireFreePort } from './port.ts'
import { startPostgres } from './postgres.ts'

export interface StackOptions {
  port: number // of the gateway; 0 = any
  model_dir: string
  database_url: string | null // null = an embedded Postgres under data_dir
  data_dir: string
  /** Overrides of the vars of wrangler.toml. */
  vars?: Record<string, string>
  on_stage?: (name: string, seconds: number, detail: string) => void
  signal?: AbortSignal // gives up starting
}

export interface Stack {
  gateway_url: string
  node_url: string
  database_url: string
  model_id: string
  admin_key: string
  node_secret: string
  node: Awaited<ReturnType<typeof startNode>>
  /** Starts a node again after it was killed, on the same journal and URL. */
  restartNode: () => Promise<void>
  stop: () => Promise<void>
}

interface Stoppable {
  stop: () => Promise<void>
}

export async function startStack(options: StackOptions): Promise<Stack> {
  const model = readModel(options.model_dir)
  if (options.port !== 0) await requireFreePort(options.port)
  const port = options.port || (await freePort())
  const node_port = await freePort()
  const node_secret = keptSecret(options.data_dir, 'node-secret')
  const admin_key = keptSecret(options.data_dir, 'admin-key')
  const started: Stoppable[] = []
  const starting = new Set<Promise<unknown>>()
  const stop = async () => {
    await Promise.allSettled(starting)
    for (const part of started.toReversed()) await part.stop()
  }
  const stage = stages(options, started, starting)
  const gateway_url = `http://127.0.0.1:${port}`
  const spawnNode = () =>
    startNode({
      model_dir: options.model_dir,
      model_id: model.id,
      port: node_port,
      data_dir: join(options.data_dir, 'node'),
      gateway_url,
      node_secret,
    })
  try {
    // The node loads its weights while the database and the gateway come up; it reports to the gateway once both are there.
    const loading = stage('node', spawnNode, (node) => `${model.id} at ${node.url}`)
    loading.catch(() => {}) // awaited below: until then its failure must not be an unhandled one
    const database_url = options.database_url ?? (await startDatabase(options, stage))
    await stage(
      'migrations',
      () => migrate(database_url),
      () => 'the schema is current',
    )
    const gateway = await stage(
      'gateway',
      () =>
        startGateway({ port, database_url, node_secret, admin_key, vars: options.vars ?? {}, ...model.catalog_row }),
      ({ url }) => url,
    )
    const node = await loading
    await stage(
      'first report',
      () => nodeIsKnown(gateway.url, model.id, options.signal),
      () => 'the gateway sees the node',
    )
    const stack: Stack = {
      gateway_url: gateway.url,
      node_url: node.url,
      database_url,
      model_id: model.id,
      admin_key,
      node_secret,
      node,
      restartNode: async () => {
        started.splice(started.indexOf(stack.node), 1)
        stack.node = await spawnNode()
        started.push(stack.node)
      },
      stop,
    }
    return stack
  } catch (error) {
    await stop()
    throw error
  }
}

/** Times a stage, remembers what has to be stopped, and stops short when the caller gave up. */
function stages({ on_stage, signal }: StackOptions, started: Stoppable[], starting: Set<Promise<unknown>>) {
  return async <T>(name: string, run: () => Promise<T>, detail: (result: T) => string): Promise<T> => {
    signal?.throwIfAborted()
    const begun = performance.now()
    const running = run()
    starting.add(running)
    const result = await running.finally(() => starting.delete(running))
    if (result && typeof result === 'object' && 'stop' in result) started.push(result as unknown as Stoppable)
    on_stage?.(name, (performance.now() - begun) / 1000, detail(result))
    return result
  }
}

async function startDatabase(options: StackOptions, stage: ReturnType<typeof stages>): Promise<string> {
  const data_dir = join(options.data_dir, 'postgres')
  const postgres = await stage(
    'postgres',
    () => startPostgres({ data_dir }),
    ({ url }) => new URL(url).host,
  )
  return postgres.url
}

const embedded_id = 'ziya-coding-mini'

/** What the gateway must know of a model folder. Any folder but the embedded model's is served under its own name. */
function readModel(dir: string) {
  const file = join(dir, 'config.json')
  if (!existsSync(file)) throw new Error(`${dir} is not a model folder: it has no config.json`)
  const id = basename(dir)
  if (id === embedded_id) return { id, catalog_row: {} }
  const template = /ziya-coding/i.test(id) ? 'ziya-coding' : /ziya-llama/i.test(id) ? 'ziya-llama' : 'plain'
  return { id, catalog_row: { local_model: { id, template, context: contextOf(file) } as const } }
}

function contextOf(config_file: string): number {
  try {
    return JSON.parse(readFileSync(config_file, 'utf8')).max_position_embeddings
  } catch {
    throw new Error(`${config_file} is not JSON`)
  }
}

/** Kept between starts: tickets in a node's journal must still verify after one. */
function keptSecret(data_dir: string, name: string): string {
  const file = join(data_dir, name)
  mkdirSync(data_dir, { recursive: true })
  if (!existsSync(file)) writeFileSync(file, randomBytes(32).toString('base64url'), { mode: 0o600 })
  return readFileSync(file, 'utf8')
}

async function nodeIsKnown(gateway_url: string, model_id: string, signal?: AbortSignal): Promise<void> {
  const deadline = performance.now() + 15_000
  for (;;) {
    signal?.throwIfAborted()
    const health = await fetch(`${gateway_url}/healthz`).catch(() => null)
    const { nodes = {} } = health?.ok ? ((await health.json()) as { nodes: Record<string, number> }) : {}
    if (nodes[model_id]) return
    if (performance.now() > deadline) throw new Error('the node did not report to the gateway within 15 s')
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}
