// The three parts on this machine, for `npm start`, the benches and the end-to-end tests: Postgres, the gateway and one node,
// started as far as possible at once and stopped in the order that loses nothing: the node, which takes no new request and finishes
// what runs; the gateway, which until then carries the streams and takes the last report; Postgres.

import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { signer } from '../contract/ed25519.ts'
import { ticketIssuer } from '../contract/internal/ticket.ts'
import { defaultNodeId, keptNodeKey } from '../gpu-node/identity.ts'
import { orAborted, STATEMENT_MS_MAX } from './aborted.ts'
import { bucketIn } from './bucket.ts'
import { openDatabase } from './database.ts'
import { type RunningGateway, requireSettings, startGateway } from './gateway.ts'
import { type LogFile, openLog } from './log-file.ts'
import { type MailServer, mailServerIn } from './mail-relay.ts'
import { migrate } from './migrate.ts'
import { type FolderModel, readModel } from './model.ts'
import { type LocalNode, startNode } from './node.ts'
import { Part } from './part.ts'
import { freePort, requireFreePort } from './port.ts'
import { type RunningPostgres, startPostgres } from './postgres.ts'
import { registerAdapter, registerNode } from './register-node.ts'
import { readUpstream, type UpstreamModel, type UpstreamOptions, upstreamEnvironment } from './upstream.ts'

export interface StackOptions {
  port: number // of the gateway; 0 = any
  model_dir: string | null // null with an upstream whose tokenizer is not here
  /** The prompt format of a model that is not in the catalog. */
  template?: string | null
  /** What its config.json lacks. */
  rope_theta?: number | null
  verify?: boolean
  /** Of its layers' matrices, in our own engine. */
  weights?: 'fp16' | 'fp8'
  /** Devices that compute every layer together, in our own engine. */
  tensor_parallel?: number
  /** Of keys and values, in our own engine. */
  kv_cache?: 'fp16' | 'fp8'
  /** LoRA adapters over it. */
  adapters?: readonly { name: string; dir: string }[]
  /** An engine that is there already, in place of our own. */
  upstream?: UpstreamOptions | null
  database_url: string | null // null = an embedded Postgres under data_dir
  data_dir: string
  /** Overrides of the vars of wrangler.toml. */
  vars?: Record<string, string>
  on_stage?: (name: string, seconds: number, detail: string) => void
  on_progress?: (name: string, news: string) => void // of a stage that began
  signal?: AbortSignal // gives up starting
}

export interface Stack {
  gateway_url: string
  node_url: string
  database_url: string
  model_id: string
  admin_key: string
  metrics_token: string
  /** What tickets are signed with. */
  ticket_seeds: string
  readonly node: LocalNode
  readonly gateway: RunningGateway
  /** Null where the database is another's. */
  readonly postgres: RunningPostgres | null
  /** Starts a node again after it was killed, on the same journal and URL. */
  restartNode: () => Promise<void>
  /** Kills the gateway, with all that goes through it, and starts it again. */
  restartGateway: () => Promise<void>
  /** From now on whatever ends by itself is started again; `say` hears of it. */
  keepUp: (say: (line: string) => void) => void
  stop: () => Promise<void>
}

interface Parts {
  postgres: Part<RunningPostgres> | null
  gateway: Part<RunningGateway>
  node: Part<LocalNode>
  migrating: Promise<unknown> | null
}

export async function startStack(options: StackOptions): Promise<Stack> {
  const model = await modelOf(options)
  if (options.port !== 0) await requireFreePort(options.port)
  const settings = {
    ...options,
    model,
    gateway_port: options.port || (await freePort()),
    node_port: await freePort(),
    ticket_seeds: keptSecret(options.data_dir, 'ticket-seeds'),
    ...keptKeys(options.data_dir),
    mail_server: mailServerIn(process.env),
  }
  requireSettings({ vars: {}, ...settings, ...(model.local_model && { local_model: model.local_model }) })
  const logs: LogFile[] = []
  const parts = partsOf(settings, logs)
  const stop = () => stopInOrder(parts, logs)
  const giveUp = () => void stop()
  options.signal?.addEventListener('abort', giveUp)
  try {
    return Object.assign(await startParts(settings, parts), { stop })
  } catch (error) {
    await stop()
    throw options.signal?.aborted ? options.signal.reason : error
  } finally {
    options.signal?.removeEventListener('abort', giveUp)
  }
}

/** Of the folder, or of the engine. */
async function modelOf({ upstream, model_dir, template = null }: StackOptions): Promise<FolderModel | UpstreamModel> {
  return upstream ? readUpstream(upstream, template) : readModel(model_dir!, template)
}

interface Settings extends StackOptions {
  model: FolderModel | UpstreamModel
  gateway_port: number
  node_port: number
  ticket_seeds: string
  admin_key: string
  data_secret: string
  metrics_token: string
  mail_server: MailServer | null
}

function partsOf(settings: Settings, logs: LogFile[]): Parts {
  const { model_dir, data_dir, database_url, ticket_seeds, admin_key, data_secret, metrics_token, model } = settings
  const logOf = (name: string) => logs[logs.push(openLog(join(data_dir, `${name}.log`))) - 1]!
  const gateway_log = logOf('gateway')
  const node_log = logOf('node')
  const embedded = database_url === null ? embeddedPostgres(join(data_dir, 'postgres')) : null
  const gateway = new Part('gateway', (signal) =>
    startGateway({
      port: settings.gateway_port,
      database_url: database_url ?? embedded!.current.url,
      ticket_seeds,
      admin_key,
      data_secret,
      metrics_token,
      files: bucketIn(process.env) ?? { folder: join(data_dir, 'files') },
      mail_server: settings.mail_server,
      vars: settings.vars ?? {},
      ...(model.local_model && { local_model: model.local_model }),
      log: (line) => gateway_log.write(`${new Date().toISOString()} ${line}`),
      signal,
    }),
  )
  const node = new Part('node', async (signal) =>
    startNode({
      model_dir,
      model_id: model.id,
      port: settings.node_port,
      data_dir: join(data_dir, 'node'),
      flags: { ...('flags' in model && model.flags), ...ownFlags(settings) },
      environment: settings.upstream ? upstreamEnvironment() : {},
      gateway_url: `http://127.0.0.1:${settings.gateway_port}`,
      ticket_keys: (await ticketIssuer(ticket_seeds.split(','))).keys.map(({ x }) => x).join(),
      log: node_log.write,
      on_progress: (line) => settings.on_progress?.('node', line),
      signal,
    }),
  )
  return { postgres: embedded, gateway, node, migrating: null }
}

/** What is said of a folder of our own engine's. */
function ownFlags({ rope_theta, verify, weights, tensor_parallel = 1, kv_cache, adapters = [] }: Settings) {
  return {
    ...(weights === 'fp8' && { weights }),
    ...(tensor_parallel > 1 && { tensor_parallel: String(tensor_parallel) }),
    ...(kv_cache === 'fp8' && { kv_cache }),
    ...(rope_theta && { rope_theta }),
    ...(verify && { verify: 'on' }),
    lora: adapters.map(({ name, dir }) => `${name}=${dir}`),
  }
}

/** It keeps its port over its lives: the gateway was told of one. */
function embeddedPostgres(data_dir: string): Part<RunningPostgres> {
  let port: number | null = null
  return new Part('database', async (signal) => {
    port ??= await freePort()
    return startPostgres({ data_dir, port, signal })
  })
}

async function startParts(settings: Settings, parts: Parts): Promise<Omit<Stack, 'stop'>> {
  const { model, signal } = settings
  const stage = stages(settings)
  // The node loads its weights while the database and the gateway come up; it reports to the gateway once both are there.
  const [node, { gateway, database_url }] = await Promise.all([
    stage(
      'node',
      () => parts.node.start(),
      ({ url }) => `${model.id} at ${url} (${model.explanation})`,
    ),
    startGatewayOnDatabase(settings, parts, stage),
  ])
  // Whether the books agree is known from the start on, and not from the first full minute.
  const checked = parts.gateway.current.runScheduled().catch((error) => settings.on_progress?.('ledger', String(error)))
  await stage(
    'first report',
    () => nodeIsKnown({ gateway_url: gateway.url, database_url, node_url: node.url, model_id: model.id, signal }),
    () => 'the gateway sees the node',
  )
  await orAborted(checked, signal)
  return {
    gateway_url: gateway.url,
    node_url: node.url,
    database_url,
    model_id: model.id,
    admin_key: settings.admin_key,
    metrics_token: settings.metrics_token,
    ticket_seeds: settings.ticket_seeds,
    get node() {
      return parts.node.current
    },
    get gateway() {
      return parts.gateway.current
    },
    get postgres() {
      return parts.postgres?.current ?? null
    },
    restartNode: async () => {
      await parts.node.start()
    },
    restartGateway: async () => {
      const { pid, exited } = parts.gateway.current
      process.kill(pid, 'SIGKILL')
      await exited
      await parts.gateway.start()
    },
    keepUp: (say) => {
      for (const part of inOrder(parts)) part.keepUp(say)
    },
  }
}

async function startGatewayOnDatabase(settings: Settings, parts: Parts, stage: ReturnType<typeof stages>) {
  const database_url = settings.database_url ?? (await startDatabase(parts.postgres!, stage))
  await stage(
    'migrations',
    () => {
      parts.migrating = migrate(database_url)
      return orAborted(parts.migrating, settings.signal, STATEMENT_MS_MAX)
    },
    () => 'the schema is current',
  )
  await orAborted(registerOwnNode(settings, database_url), settings.signal, STATEMENT_MS_MAX)
  const gateway = await stage(
    'gateway',
    () => parts.gateway.start(),
    ({ url }) => url,
  )
  return { gateway, database_url }
}

/** Its key lies beside its journal, so it stays the same node over its lives. */
async function registerOwnNode({ data_dir, model, node_port, adapters = [] }: Settings, url: string): Promise<void> {
  const folder = join(data_dir, 'node')
  const { x } = await signer(keptNodeKey(folder))
  const node_url = `http://127.0.0.1:${node_port}`
  await registerNode(url, { id: defaultNodeId(folder), url: node_url, model: model.id, key: x })
  for (const { name } of adapters) await registerAdapter(url, { id: name, base: model.id })
}

function inOrder({ node, gateway, postgres }: Parts): Pick<Part<LocalNode>, 'keepUp'>[] {
  return postgres ? [node, gateway, postgres] : [node, gateway]
}

async function stopInOrder(parts: Parts, logs: LogFile[]): Promise<void> {
  await parts.node.stop()
  await parts.gateway.stop()
  await Promise.race([parts.migrating, sleep(STATEMENT_MS_MAX, null, { ref: false })]).catch(() => {})
  await parts.postgres?.stop()
  for (const log of logs) await log.close()
}

/** Times a stage, and stops short when the caller gave up. */
function stages({ on_stage, on_progress, signal }: StackOptions) {
  return async <T>(name: string, run: () => Promise<T>, detail: (result: T) => string): Promise<T> => {
    signal?.throwIfAborted()
    on_progress?.(name, 'starting')
    const begun = performance.now()
    const result = await run()
    on_stage?.(name, (performance.now() - begun) / 1000, detail(result))
    return result
  }
}

async function startDatabase(part: Part<RunningPostgres>, stage: ReturnType<typeof stages>): Promise<string> {
  const { url } = await stage(
    'postgres',
    () => part.start(),
    (running) => new URL(running.url).host,
  )
  return url
}

/** What a folder that was made before had its data keyed by is what opened it: the operator's key. */
function keptKeys(data_dir: string): Pick<Settings, 'admin_key' | 'data_secret' | 'metrics_token'> {
  const is_older = existsSync(join(data_dir, 'admin-key'))
  const admin_key = keptSecret(data_dir, 'admin-key')
  return {
    admin_key,
    data_secret: keptSecret(data_dir, 'data-secret', is_older ? admin_key : undefined),
    metrics_token: keptSecret(data_dir, 'metrics-token'),
  }
}

/** Kept between starts: tickets in a node's journal must still verify after one. */
function keptSecret(data_dir: string, name: string, first = randomBytes(32).toString('base64url')): string {
  const file = join(data_dir, name)
  mkdirSync(data_dir, { recursive: true })
  if (!existsSync(file)) writeFileSync(file, first, { mode: 0o600 })
  return readFileSync(file, 'utf8')
}

interface ExpectedNode {
  gateway_url: string
  database_url: string
  node_url: string
  model_id: string
  signal: AbortSignal | undefined
}

const REPORT_MS_MAX = 30_000 // on a quiet machine it takes a second

/** Waits until this very node has reported: another one may serve the same model from the same database. */
async function nodeIsKnown({ gateway_url, database_url, node_url, model_id, signal }: ExpectedNode): Promise<void> {
  const sql = openDatabase(database_url)
  const isListed = async () =>
    (
      await sql`
    select from registered_nodes where url = ${node_url} and model = ${model_id} and state is not null`
    ).length > 0
  const isServed = async () => {
    const health = await fetch(`${gateway_url}/healthz`).catch(() => null)
    const { nodes = {} } = health?.ok ? ((await health.json()) as { nodes?: Record<string, number> }) : {}
    return !!nodes[model_id]
  }
  try {
    for (const deadline = performance.now() + REPORT_MS_MAX; ; await sleep(50)) {
      if ((await orAborted(isListed(), signal, STATEMENT_MS_MAX)) && (await isServed())) return
      if (performance.now() > deadline)
        throw new Error(
          `the node did not report to the gateway within ${REPORT_MS_MAX / 1000} s; gateway.log and node.log say more`,
        )
    }
  } finally {
    await sql.end({ timeout: 1 })
  }
}
