// The gateway on this machine: the worker's bundle with the settings of wrangler.toml, served by bare workerd. (Miniflare would do as well, at
// twice the CPU a request.) workerd dies with the process that started it, however that one ends.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parse } from 'smol-toml'
import { faultOf, type LocalModel, rangesIn } from '../gateway/env.ts'
import { networkRules } from '../gateway/webhook/public-address.ts'
import { orAborted, STATEMENT_MS_MAX } from './aborted.ts'
import { assets, assetsWorker } from './assets.ts'
import type { S3 } from './bucket/s3.ts'
import { type BoundBucket, bindBucket, type FolderBucket } from './bucket.ts'
import { bundleWorker } from './bundle.ts'
import type { RunningServer } from './children.ts'
import { isEncrypted, openDatabase } from './database.ts'
import { type Database, readDatabaseUrl } from './database-url.mjs'
import { gatewayUrl, readerUrl } from './gateway-login.ts'
import { type MailServer, startMailRelay } from './mail-relay.ts'
import { loopbacks, requireFreePort } from './port.ts'
import { localPrice, publishFirst } from './prices.ts'
import { openTunnel } from './tunnel.ts'
import { serveWorkerd } from './workerd.ts'

export interface GatewayOptions {
  port: number // 0: any free one
  database_url: string // of the owner, who migrated it; the gateway itself logs in with fewer rights
  /** Tickets are signed with the first: base64url, commas between them. */
  ticket_seeds: string
  admin_key: string
  data_secret?: string
  metrics_token?: string
  /** A model that is not in the catalog, served from a folder of this machine. */
  local_model?: LocalModel
  /** Overrides of the vars of wrangler.toml. */
  vars?: Record<string, string>
  /** Overrides of the limits of the rate limit bindings. */
  rate_limits?: Record<string, number>
  /** Where files lie; by default in a folder that goes when the gateway stops. */
  files?: S3 | FolderBucket
  /** Accounts are written to through it. */
  mail_server?: MailServer | null
  /** Where the gateway's own log lines go; by default this process's stderr. */
  log?: (line: string) => void
  /** The worker's script, where it is made already. */
  worker?: string
  /** The static assets, by path, where they are read already. */
  assets?: Record<string, string>
  signal?: AbortSignal | undefined // gives up starting
}

export interface RunningGateway extends RunningServer {
  /** What the cron trigger does each minute. */
  runScheduled(): Promise<void>
}

const CRON_MS = 60_000
const root = fileURLToPath(new URL('../', import.meta.url))

export async function startGateway(options: GatewayOptions): Promise<RunningGateway> {
  if (options.port !== 0) await requireFreePort(options.port)
  const config = readConfig()
  const log = options.log ?? ((line) => console.error(line))
  const [script, database_urls] = await orAborted(
    Promise.all([options.worker ?? bundleWorker(), prepareDatabase(options)]),
    options.signal,
    STATEMENT_MS_MAX,
  )
  const held = assetsWorker(options.assets ?? assets())
  const bucket = await bindBucket(options.files)
  const way = await wayTo(readDatabaseUrl(options.database_url), log)
  const relay = options.mail_server ? await startMailRelay(options.mail_server, log) : null
  const close = () => {
    way.close()
    bucket.close()
    relay?.close()
  }
  const files = {
    'worker.js': script,
    'cron.js': CRON_WORKER,
    'rate-limit.js': RATE_LIMIT,
    'bucket.js': bucket.script,
    ...held.files,
    'workerd.capnp': workerdConfig(
      config,
      {
        ...options,
        vars: { ...options.vars, ...relay?.vars },
        addresses: await addressesOf(options),
        asset_modules: held.modules,
        bucket,
      },
      { urls: database_urls, address: way.address },
    ),
  }
  const server = await serveWorkerd(files, { sockets: ['http', 'cron'], log, signal: options.signal }).catch(
    (error) => {
      close()
      throw error
    },
  )
  const runScheduled = async () => {
    const answer = await fetch(`http://127.0.0.1:${server.ports.cron}/`)
    if (!answer.ok) throw new Error(`the scheduled run failed: ${answer.status}`)
  }
  const cron = setInterval(() => void runScheduled().catch((error) => log(String(error))), CRON_MS)
  cron.unref()
  // However it ends: who starts it again starts the rest again, too.
  const exited = server.exited.finally(() => {
    clearInterval(cron)
    close()
  })
  return {
    url: `http://127.0.0.1:${server.ports.http}`,
    pid: server.pid,
    exited,
    runScheduled,
    stop: async () => {
      await server.stop()
      await exited
    },
  }
}

interface WorkerConfig {
  compatibility_date: string
  compatibility_flags: string[]
  durable_objects: { bindings: { name: string; class_name: string }[] }
  hyperdrive: { binding: string }[]
  ratelimits: { name: string; simple: { limit: number; period: number } }[]
  vars: Record<string, string>
}

// Not by wrangler itself: importing it takes 1.4 s.
function readConfig(): WorkerConfig {
  return parse(readFileSync(join(root, 'wrangler.toml'), 'utf8')) as unknown as WorkerConfig
}

interface DatabaseWay {
  /** The database's URL with the login of each Hyperdrive binding. */
  urls: Record<string, string>
  address: string
}

/** workerd speaks plain TCP to a database: to the server itself, or to a tunnel where the server is to be spoken to over TLS. */
async function wayTo(database: Database, log: (line: string) => void): Promise<{ address: string; close(): void }> {
  if (await isEncrypted(database)) return openTunnel(database, log)
  return { address: new URL(database.url).host, close: () => {} }
}

/** A price for the local model, which no migration knows, and the logins. */
async function prepareDatabase({ database_url, local_model }: GatewayOptions): Promise<DatabaseWay['urls']> {
  const sql = openDatabase(database_url)
  try {
    if (local_model) await publishFirst(database_url, [localPrice(local_model.id)])
    return { HYPERDRIVE: await gatewayUrl(sql, database_url), HYPERDRIVE_READER: await readerUrl(sql, database_url) }
  } finally {
    await sql.end({ timeout: 5 })
  }
}

// workerd runs no cron triggers by itself. This worker, on a port of its own, hands one to the gateway.
const CRON_WORKER = `export default {
  async fetch(request, env) {
    const { outcome } = await env.GATEWAY.scheduled({ cron: '* * * * *', scheduledTime: new Date() })
    return new Response(outcome, { status: outcome === 'ok' ? 200 : 500 })
  },
}`

// Bare workerd has no rate limit bindings. This module stands in for them, with the same interface and in the worker's own isolate.
const RATE_LIMIT = `export default function ({ limit, period }) {
  let counts = new Map()
  let ends = 0
  return {
    async limit({ key }) {
      if (Date.now() >= ends) {
        counts = new Map()
        ends = Date.now() + period * 1000
      }
      const count = (counts.get(key) ?? 0) + 1
      counts.set(key, count)
      return { success: count <= limit }
    },
  }
}`

/** Where it listens: a port that was given is ours under each address of `localhost`, so that no stranger answers there. */
async function addressesOf({ port }: GatewayOptions): Promise<string[]> {
  if (port === 0) return ['127.0.0.1:0']
  return (await loopbacks()).map((address) => (address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`))
}

type Served = GatewayOptions & { addresses: string[]; asset_modules: string; bucket: BoundBucket }

/** Names a var or a secret that the gateway would not serve with: what it says itself stands in its log, at the first request. */
export function requireSettings(options: GatewaySettings): void {
  const fault = faultOf(textsOf(readConfig(), options))
  if (fault) throw new Error(`the gateway cannot be set up so: ${fault}`)
}

type GatewaySettings = Pick<
  GatewayOptions,
  'vars' | 'ticket_seeds' | 'admin_key' | 'data_secret' | 'metrics_token' | 'local_model'
>

function textsOf({ vars }: WorkerConfig, options: GatewaySettings): Record<string, string> {
  return {
    ...vars,
    ...options.vars,
    TICKET_SEEDS: options.ticket_seeds,
    ADMIN_KEY: options.admin_key,
    ...(options.data_secret && { DATA_SECRET: options.data_secret }),
    ...(options.metrics_token && { METRICS_TOKEN: options.metrics_token }),
    ...(options.local_model && { LOCAL_MODEL: JSON.stringify(options.local_model) }),
  }
}

// Twice what a deployed isolate may have. By the size of the machine V8 would put off a whole collection, while what requests left lies
// outside its heap.
const HEAP_MB_MAX = 256

function workerdConfig(config: WorkerConfig, options: Served, database: DatabaseWay): string {
  const texts = textsOf(config, options)
  const date = quoted(config.compatibility_date)
  const classes = config.durable_objects.bindings
  const receivers = networkRules(rangesIn(texts.WEBHOOK_ALLOWED_RANGES ?? ''))
  const bindings = [
    '(name = "ASSETS", service = "assets")',
    '(name = "RECEIVERS", service = "receivers")',
    `(name = "FILES", wrapped = (moduleName = "local:bucket", innerBindings = [${options.bucket.bindings}]))`,
    ...Object.entries(texts).map(([name, text]) => `(name = ${quoted(name)}, text = ${quoted(text)})`),
    ...classes.map(
      ({ name, class_name }) => `(name = ${quoted(name)}, durableObjectNamespace = ${quoted(class_name)})`,
    ),
    ...config.ratelimits.map(
      ({ name, simple }) => `(name = ${quoted(name)}, wrapped = (moduleName = "local:rate-limit", innerBindings = [
      (name = "limit", json = "${options.rate_limits?.[name] ?? simple.limit}"), (name = "period", json = "${simple.period}")]))`,
    ),
    ...config.hyperdrive.map(({ binding }) =>
      hyperdrive(binding, new URL(readDatabaseUrl(database.urls[binding]!).url)),
    ),
  ]
  return `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  v8Flags = ["--max-heap-size=${HEAP_MB_MAX}"],
  services = [
    (name = "gateway", worker = (
      modules = [(name = "worker.js", esModule = embed "worker.js")],
      compatibilityDate = ${date}, compatibilityFlags = [${config.compatibility_flags.map(quoted)}],
      bindings = [${bindings.join(',\n        ')}],
      durableObjectNamespaces = [${classes.map(({ class_name }) => `(className = ${quoted(class_name)}, uniqueKey = ${quoted(class_name)})`).join(', ')}],
      durableObjectStorage = (inMemory = void), globalOutbound = "network")),
    (name = "cron", worker = (
      modules = [(name = "cron.js", esModule = embed "cron.js")],
      compatibilityDate = ${date}, compatibilityFlags = ["service_binding_extra_handlers"],
      bindings = [(name = "GATEWAY", service = "gateway")])),
    (name = "assets", worker = (
      modules = [${options.asset_modules}],
      compatibilityDate = ${date})),
    (name = "network", network = (allow = ["public", "private"], tlsOptions = (trustBrowserCas = true))),
    (name = "receivers", network = (
      allow = [${receivers.allow.map(quoted)}], deny = [${receivers.deny.map(quoted)}],
      tlsOptions = (trustBrowserCas = true))),
    ${options.bucket.services}
    (name = "database", external = (address = ${quoted(database.address)}, tcp = ())),
  ],
  extensions = [(modules = [(name = "local:rate-limit", esModule = embed "rate-limit.js", internal = true)]),
    (modules = [(name = "local:bucket", esModule = embed "bucket.js", internal = true)])],
  sockets = [
    ${options.addresses.map((address, index) => `(name = "http${index || ''}", address = "${address}", http = (), service = "gateway"),`).join('\n    ')}
    (name = "cron", address = "127.0.0.1:0", http = (), service = "cron"),
  ]
);
`
}

function hyperdrive(binding: string, { pathname, username, password }: URL): string {
  return `(name = ${quoted(binding)}, hyperdrive = (designator = "database",
      database = ${quoted(pathname.slice(1))}, user = ${quoted(decodeURIComponent(username))},
      password = ${quoted(decodeURIComponent(password) || 'none')}, scheme = "postgresql"))`
}

// A Cap'n Proto string literal has the escapes of C, which for these texts are those of JSON.
function quoted(text: string): string {
  return JSON.stringify(text)
}
