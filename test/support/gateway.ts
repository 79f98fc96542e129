// A gateway of its own for a test file, on real workerd, with a database and one canned node; and callers of it.

import { readFileSync, writeFileSync } from 'node:fs'
import { bundleWorker } from '../../local/bundle.ts'
import { createFundedKey } from '../../local/demo-account.ts'
import { type GatewayOptions, type RunningGateway, startGateway } from '../../local/gateway.ts'
import { DOCUMENT } from '../../local/openapi.ts'
import { type CannedNode, type CannedNodeOptions, startCannedNode } from './canned-node.ts'
import { TICKET_SEED } from './keys.ts'
import { madeOnce } from './made-once.ts'
import { expectDocumented } from './openapi.ts'
import { startTestPostgres, type TestPostgres } from './postgres.ts'

export interface TestGateway extends RunningGateway {
  db: TestPostgres
  node: CannedNode
  /** What a further node is started with. */
  node_options: Pick<CannedNodeOptions, 'gateway_url' | 'register'>
  admin_key: string
  metrics_token: string
  /** What the gateway logged. */
  log: string[]
  /** A key of a new account with that much credit. */
  newCaller(credit_nanousd?: string): Promise<Caller>
  admin(path: string, body?: object, method?: string): Promise<Response>
}

export interface Caller {
  api_key: string
  account_id: string
  key_id: string
  get(path: string): Promise<Response>
  post(path: string, body: unknown, init?: RequestInit): Promise<Response>
}

export const admin_key = 'admin-key-of-the-tests'
export const metrics_token = 'metrics-token-of-the-tests'
export const model = 'ziya-coding-mini'
export const chatBody = { model, messages: [{ role: 'user', content: '写一段快速排序' }] }

// The machine is shared: a deadline that a busy moment breaks would test the machine.
export const PATIENT = { DATABASE_MS_MAX: '20000' }

// The page's own script is megabytes, which a test of something else can do without.
const FEW_ASSETS = {
  '/openapi.json': readFileSync(DOCUMENT, 'utf8'),
  '/docs/reference.html': '<!doctype html>',
  '/docs/reference.js': '//',
  '/docs/scalar.js': '//',
}

// One machine is every caller here at once, so its address may do what many do.
const NO_SIEVE = { FLOOD: 1e9, FAILED_AUTHENTICATION: 1e9 }

export async function startTestGateway(
  vars: Record<string, string> = {},
  prepare?: (database_url: string) => Promise<void>,
  rate_limits: Record<string, number> = NO_SIEVE,
  {
    files,
    mail_server,
    ...own_node
  }: { sync?: boolean; model?: string } & Pick<GatewayOptions, 'files' | 'mail_server'> = {},
): Promise<TestGateway> {
  const db = await startTestPostgres(prepare)
  await bePatientWithNodes(db)
  const log: string[] = []
  const secrets = { ticket_seeds: TICKET_SEED, admin_key, metrics_token }
  const gateway = await startGateway({
    port: 0,
    database_url: db.url,
    worker: await bundledOnce(),
    assets: FEW_ASSETS,
    ...secrets,
    vars: { ...PATIENT, ...vars },
    rate_limits,
    ...(files && { files }),
    ...(mail_server && { mail_server }),
    log: (line) => {
      log.push(line)
      if (process.env.GATEWAY_LOG) console.log(line)
    },
  })
  const node_options = {
    gateway_url: gateway.url,
    register: (node: object) => db.ask('create_node', { ...node, replace: true }),
  }
  const node = await startCannedNode({ ...node_options, ...own_node })
  const admin = (path: string, body?: object, method = 'POST') =>
    documented(gateway.url + path, {
      method,
      headers: { authorization: `Bearer ${admin_key}`, 'content-type': 'application/json' },
      ...(body && { body: JSON.stringify(body) }),
    })
  return {
    ...gateway,
    admin_key,
    metrics_token,
    node_options,
    db,
    node,
    log,
    admin,
    newCaller: async (credit_nanousd = '1000000000') => {
      const access = { gateway_url: gateway.url, admin_key }
      return callerOf(gateway.url, await createFundedKey(access, 'caller', credit_nanousd))
    },
    stop: async () => {
      await node.stop()
      await gateway.stop()
      await db.stop()
    },
  }
}

// The node reports from this process, whose own work may hold its reports up for longer than a node may be silent.
async function bePatientWithNodes({ sql }: TestPostgres): Promise<void> {
  await sql`create or replace function ledger.is_live(last_seen_at timestamptz) returns boolean language sql as $$
    select coalesce(last_seen_at > clock_timestamp() - interval '5 minutes', false) $$`
}

/** The worker's script, which is made once for all files. */
export async function bundledOnce(): Promise<string> {
  return readFileSync(await madeOnce('worker.js', async (path) => writeFileSync(path, await bundleWorker())), 'utf8')
}

/** The gateway of a file whose tests share one caller. */
export async function startWithCaller(): Promise<[TestGateway, Caller]> {
  const gateway = await startTestGateway()
  return [gateway, await gateway.newCaller()]
}

export function callerOf(gateway_url: string, key: { api_key: string; account_id: string; key_id: string }): Caller {
  const headers = { authorization: `Bearer ${key.api_key}` }
  return {
    ...key,
    get: (path) => documented(gateway_url + path, { headers }),
    post: (path, body, init) =>
      documented(gateway_url + path, {
        method: 'POST',
        body: typeof body === 'string' ? body : JSON.stringify(body),
        ...init,
        headers: { ...headers, 'content-type': 'application/json', ...(init?.headers as Record<string, string>) },
      }),
  }
}

/** Asks, and holds a JSON answer against the document of the API. */
async function documented(url: string, init: RequestInit): Promise<Response> {
  const answer = await fetch(url, init)
  await expectDocumented(url, init, answer)
  return answer
}

export interface ErrorAnswer {
  status: number
  code: string
  param: string | null
}

/** Reads an answer that must be an error in OpenAI's shape. */
export async function errorOf(response: Response): Promise<ErrorAnswer & { message: string; type: string }> {
  const { error } = (await response.json()) as { error: Record<string, string | null> }
  const fields = Object.keys(error).sort().join()
  if (fields !== 'code,message,param,type') throw new Error(`not OpenAI's shape: ${fields}`)
  if (!/^[0-9a-f-]{36}$/.test(response.headers.get('x-request-id') ?? '')) throw new Error('no x-request-id')
  return { status: response.status, ...error } as ErrorAnswer & { message: string; type: string }
}
