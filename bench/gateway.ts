// What the gateway costs, everything on: key, schema, admission in Postgres, ticket, and the settling that follows.
//   node bench/gateway.ts [rounds=5]
// Beside it the same load straight to the node, and through a worker that only pipes. Client, gateway, node and Postgres (durable)
// share this machine; figures are medians over interleaved rounds (lowest..highest). Compare within one run only.

import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { Agent, request as httpRequest } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { signTicket } from '../contract/ticket.ts'
import { createFundedKey } from '../local/demo-account.ts'
import { diesWithParent } from '../local/dies-with-parent.ts'
import { startGateway } from '../local/gateway.ts'
import { migrate } from '../local/migrate.ts'
import { startPostgres } from '../local/postgres.ts'
import { serveWorkerd } from '../local/workerd.ts'
import { startCannedNode } from '../test/support/canned-node.ts'
import { generateRequest, ticketFor } from '../test/support/generate.ts'
import { quantile } from './quantile.ts'

const model = 'ziya-coding-mini'
const node_secret = 'node-secret-of-the-bench'
const SECONDS = 3
const nodeRequest = generateRequest({ model, prompts: [[{ special: '<s>' }, { text: 'def f():' }]], max_tokens: 32 })

/** The canned node, in a process of its own as a real one is. Reports to the gateway whose URL it is given. */
async function runNode(): Promise<void> {
  const gateway_url = process.argv[3]!
  const options = { gateway_url, node_secret, completion_tokens: 32, sync: gateway_url !== 'none' }
  const node = await startCannedNode(options)
  console.log(node.url)
}

interface Target {
  name: string
  url: string
  headers: Record<string, string>
  body(stream: boolean): string
}

async function measure(rounds: number): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'ziya-bench-'))
  const postgres = await startPostgres({ data_dir: join(folder, 'postgres') })
  await migrate(postgres.url)
  const admin_key = 'admin-key-of-the-bench'
  const vars = { DATABASE_MS_MAX: '20000' }
  const gateway = await startGateway({
    port: 0,
    database_url: postgres.url,
    node_secret,
    admin_key,
    vars,
    log: console.error,
  })
  const [metered, bare] = [await spawnNode(gateway.url), await spawnNode('none')]
  const pipe = await serveWorkerd(pipeFiles(bare.url), { sockets: ['http'], log: console.error })
  const { api_key } = await createFundedKey({ gateway_url: gateway.url, admin_key }, 'bench', '1000000000000')

  const signed = await signTicket(ticketFor(nodeRequest), node_secret)
  const asNode = { 'x-ticket': signed, 'content-type': 'application/json' }
  const targets: Target[] = [
    { name: 'straight to the node', url: `${bare.url}/generate`, headers: asNode, body: nodeBody },
    { name: 'bare pipe', url: `http://127.0.0.1:${pipe.ports.http}/generate`, headers: asNode, body: nodeBody },
    {
      name: 'gateway',
      url: `${gateway.url}/v1/completions`,
      headers: { authorization: `Bearer ${api_key}`, 'content-type': 'application/json' },
      body: (stream) => JSON.stringify({ model, prompt: 'def f():', max_tokens: 32, stream }),
    },
  ]
  for (const target of targets) await load(target, { streams: false, at_once: 4, seconds: 1 })
  await table('time to the first byte of a stream, ms', targets, rounds, { streams: true, at_once: 1 })
  await table('time to the first byte of a stream, ms', targets, rounds, { streams: true, at_once: 16 })
  await table('unstreamed', targets, rounds, { streams: false, at_once: 16 })

  for (const part of [metered, bare]) part.stop()
  await gateway.stop()
  await pipe.stop()
  await postgres.stop()
  rmSync(folder, { recursive: true, force: true })
  process.exit(0)
}

async function table(title: string, targets: Target[], rounds: number, how: { streams: boolean; at_once: number }) {
  const results = new Map<string, { rate: number[]; p50: number[]; p99: number[] }>()
  for (let round = 0; round < rounds; round += 1) {
    for (const target of targets) {
      const ms = await load(target, { ...how, seconds: SECONDS })
      const result = results.get(target.name) ?? { rate: [], p50: [], p99: [] }
      results.set(target.name, result)
      result.rate.push(ms.length / SECONDS)
      result.p50.push(quantile(ms, 0.5))
      result.p99.push(quantile(ms, 0.99))
    }
  }
  console.log(`\n${title}, ${how.at_once} at once`)
  for (const [name, { rate, p50, p99 }] of results)
    console.log(`  ${name.padEnd(22)} ${spread(rate, 0)} /s   p50 ${spread(p50, 2)}   p99 ${spread(p99, 2)}`)
}

/** Closed loop; the times to the first byte, in ms. */
async function load(target: Target, how: { streams: boolean; at_once: number; seconds: number }): Promise<number[]> {
  const agent = new Agent({ keepAlive: true, maxSockets: how.at_once })
  const body = target.body(how.streams)
  const end = performance.now() + how.seconds * 1000
  const times: number[] = []
  const one = async () => {
    while (performance.now() < end) times.push(await firstByteMs(target, body, agent))
  }
  await Promise.all(Array.from({ length: how.at_once }, one))
  agent.destroy()
  return times
}

function firstByteMs({ url, headers }: Target, body: string, agent: Agent): Promise<number> {
  const started = performance.now()
  let first = 0
  return new Promise((done, fail) => {
    const all = { ...headers, 'content-length': Buffer.byteLength(body) }
    const req = httpRequest(url, { method: 'POST', headers: all, agent }, (res) => {
      if (res.statusCode !== 200) fail(new Error(`${url}: ${res.statusCode}`))
      res.on('data', () => {
        first ||= performance.now() - started
      })
      res.on('end', () => done(first))
    })
    req.once('error', fail)
    req.end(body)
  })
}

function nodeBody(stream: boolean): string {
  return JSON.stringify({ ...nodeRequest, stream })
}

function pipeFiles(upstream: string): Record<string, string> {
  return {
    'pipe.js': `export default { fetch: (request) => fetch('${upstream}/generate', request) }`,
    'workerd.capnp': `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "pipe", worker = (
      modules = [(name = "pipe.js", esModule = embed "pipe.js")],
      compatibilityDate = "2026-11-17", globalOutbound = "network")),
    (name = "network", network = (allow = ["private"])),
  ],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "pipe")]
);`,
  }
}

async function spawnNode(gateway_url: string): Promise<{ url: string; stop(): void }> {
  const script = [process.execPath, fileURLToPath(import.meta.url), 'node', gateway_url]
  const [command, ...args] = diesWithParent('SIGKILL', script)
  const child = spawn(command!, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  const url = await new Promise<string>((done) => createInterface(child.stdout).once('line', done))
  return { url, stop: () => void child.kill('SIGKILL') }
}

function spread(values: number[], digits: number): string {
  const text = (value: number) => value.toFixed(digits)
  return `${text(quantile(values, 0.5))} (${text(Math.min(...values))}..${text(Math.max(...values))})`
}

if (process.argv[2] === 'node') await runNode()
else await measure(Number(process.argv[2] ?? 5))
