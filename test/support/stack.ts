// The whole service for end-to-end tests: an own Postgres, gateway and node on free ports, with nothing kept afterwards.

import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import OpenAI from 'openai'
import postgres from 'postgres'
import { createFundedKey } from '../../local/demo-account.ts'
import { type Stack, type StackOptions, startStack } from '../../local/stack.ts'
import { newCluster } from './cluster.ts'
import { PATIENT } from './gateway.ts'

export { eventually } from './patience.ts'

export const embeddedModel = join(import.meta.dirname, '../../models/ziya-coding-mini')

export interface TestStack extends Stack {
  sql: postgres.Sql
  /** The node's journal as it lies on the disk. */
  readJournal: () => string
  gatewayLog: () => string
}

/** `environment` is of its node, and of the nodes that it starts again; `vars` are of its gateway. */
export async function startTestStack(
  model_dir: string = embeddedModel,
  environment: NodeJS.ProcessEnv = {},
  vars: Record<string, string> = {},
  more: Partial<StackOptions> = {},
): Promise<TestStack> {
  const restore = putInEnvironment(environment)
  const data_dir = mkdtempSync(join(tmpdir(), 'ziya-test-'))
  await newCluster(join(data_dir, 'postgres'))
  const own = { port: 0, model_dir, database_url: null, data_dir, vars: { ...PATIENT, ...vars } }
  const stack = await startStack({ ...own, ...more })
  const sql = postgres(stack.database_url, { max: 2, fetch_types: false })
  const stopStack = stack.stop
  return Object.assign(stack, {
    sql,
    readJournal: () => readFileSync(join(data_dir, 'node', 'journal.jsonl'), 'utf8'),
    gatewayLog: () => readFileSync(join(data_dir, 'gateway.log'), 'utf8'),
    stop: async () => {
      await sql.end({ timeout: 5 })
      await stopStack()
      restore()
      rmSync(data_dir, { recursive: true, force: true })
    },
  })
}

/** What it returns takes it out again: another file may run in this process. */
export function putInEnvironment(environment: NodeJS.ProcessEnv): () => void {
  const before = Object.keys(environment).map((name) => [name, process.env[name]] as const)
  Object.assign(process.env, environment)
  return () => {
    for (const [name, value] of before) {
      if (value === undefined) delete process.env[name]
      else process.env[name] = value
    }
  }
}

export interface Customer {
  account_id: string
  key_id: string
  api_key: string
  client: OpenAI
  /** An authenticated request that throws nothing. */
  fetch: (path: string, init?: RequestInit) => Promise<Response>
}

/** An account with credit (ten dollars unless said), its key, and the official client on it. */
export async function newCustomer(stack: Stack, credit_nanousd = '10000000000'): Promise<Customer> {
  const funded = await createFundedKey(stack, 'customer', credit_nanousd)
  const headers = { authorization: `Bearer ${funded.api_key}`, 'content-type': 'application/json' }
  return {
    ...funded,
    client: new OpenAI({ baseURL: `${stack.gateway_url}/v1`, apiKey: funded.api_key, maxRetries: 0 }),
    fetch: (path, init) => fetch(stack.gateway_url + path, { headers, ...init }),
  }
}

export interface NodeStatusView {
  running: number
  waiting: number
  blocks_total: number
  blocks_free: number
}

export async function nodeStatus(stack: Stack): Promise<NodeStatusView> {
  return (await (await fetch(`${stack.node_url}/status`)).json()) as NodeStatusView
}
