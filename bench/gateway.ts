// What the gateway costs, everything on: key, schema, limits, admission in Postgres, ticket, and the settling that follows.
//   node bench/gateway.ts [rounds=5]
// Streams are paced like a model's: the first chunk at once, 64 in all, 5 ms apart. Beside them the same load straight to the node,
// through a worker that only pipes, and through Portkey's gateway, which asks nobody (after `npm install` in bench/peers/gateway).
// Client, gateways, node and Postgres (durable) share this machine; figures are medians over interleaved rounds (lowest..highest),
// the CPU is user and system time a request by process. Compare within one run only.

import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { signer } from '../contract/ed25519.ts'
import { ACCEPTED_HEADER, TICKET_HEADER } from '../contract/internal/generation.ts'
import {
  NODE_KEY_HEADER,
  NODE_SIGNATURE_HEADER,
  type NodeStatus,
  SYNC_RECORDS_MAX,
  type UsageRecord,
} from '../contract/internal/sync.ts'
import type { Ticket } from '../contract/internal/ticket.ts'
import { createFundedKey } from '../local/demo-account.ts'
import { tiedCommand } from '../local/dies-with-parent.mjs'
import { startGateway } from '../local/gateway.ts'
import { migrate } from '../local/migrate.ts'
import { freePort } from '../local/port.ts'
import { startPostgres } from '../local/postgres.ts'
import { registerNode } from '../local/register-node.ts'
import { serveWorkerd } from '../local/workerd.ts'
import { cpuMs } from './cpu-time.ts'
import { firstByteTimes, postRequest } from './http-client.ts'
import { quantile } from './quantile.ts'

const TICKET_SEED = Buffer.alloc(32, 't').toString('base64url')
const nodeKey = await signer(Buffer.alloc(32, 'n').toString('base64url'))
const SECONDS = 3
const CHUNKS = 64
const CHUNK_MS = 5
const model = 'ziya-coding-mini'
const NODE_ID = 'bench'
// Reports come as gpu-node/meter/sync.ts sends them: together what ended while one was on its way.
const GATHER_MS = 1
const HEARTBEAT_MS = 1000
const portkey = fileURLToPath(new URL('peers/gateway/node_modules/@portkey-ai/gateway', import.meta.url))

interface Target {
  name: string
  url: string
  headers?: Record<string, string>
  processes: Record<string, number> // by name, their ids
}

interface How {
  streams: boolean
  at_once: number
}

async function measure(rounds: number): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'ziya-bench-'))
  const postgres = await startPostgres({ data_dir: join(folder, 'postgres') })
  await migrate(postgres.url)
  const admin_key = 'admin-key-of-the-bench'
  const vars = { DATABASE_MS_MAX: '20000', REQUESTS_PER_MINUTE: '100000000' }
  const gateway = await startGateway({
    port: 0,
    database_url: postgres.url,
    ticket_seeds: TICKET_SEED,
    admin_key,
    vars,
    rate_limits: { FLOOD: 1e9 },
    log: console.error,
  })
  const node = await spawnPart('node', gateway.url)
  await registerNode(postgres.url, { id: NODE_ID, url: node.url, model, key: nodeKey.x })
  while (!(await isServed(gateway.url))) await sleep(50)
  const pipe = await serveWorkerd(pipeFiles(node.url), { sockets: ['http'], log: console.error })
  const peer = existsSync(portkey) ? await spawnPortkey() : null
  const { api_key } = await createFundedKey({ gateway_url: gateway.url, admin_key }, 'bench', '1000000000000')

  const path = '/v1/completions'
  const targets: Target[] = [
    { name: 'straight to the node', url: node.url + path, processes: { node: node.pid } },
    { name: 'bare pipe', url: `http://127.0.0.1:${pipe.ports.http}${path}`, processes: { workerd: pipe.pid } },
    {
      name: 'gateway',
      url: gateway.url + path,
      headers: { authorization: `Bearer ${api_key}` },
      processes: { workerd: gateway.pid, postgres: postgres.pid, node: node.pid },
    },
  ]
  if (peer)
    targets.push({
      name: 'Portkey',
      url: peer.url + path,
      headers: {
        authorization: 'Bearer x',
        'x-portkey-provider': 'openai',
        'x-portkey-custom-host': `${node.url}/v1`,
      },
      processes: { Portkey: peer.pid },
    })
  for (const target of targets) await load(target, { streams: false, at_once: 16 })
  await table(targets, rounds, { streams: true, at_once: 1 })
  await table(targets, rounds, { streams: true, at_once: 16 })
  await table(targets, rounds, { streams: false, at_once: 16 })
  await table(targets, rounds, { streams: false, at_once: 64 })

  for (const part of [node, peer]) part?.stop()
  await gateway.stop()
  await pipe.stop()
  await postgres.stop()
  rmSync(folder, { recursive: true, force: true })
  process.exit(0)
}

async function isServed(gateway_url: string): Promise<boolean> {
  const { nodes } = (await (await fetch(`${gateway_url}/healthz`)).json()) as { nodes?: Record<string, number> }
  return !!nodes?.[model]
}

interface Sample {
  rate: number
  p50: number
  p99: number
  added_p50: number // beside the first target in the same round
  added_p99: number
  cpu_ms: Record<string, number> // a request
}

async function table(targets: Target[], rounds: number, how: How): Promise<void> {
  const samples = targets.map(() => [] as Sample[])
  for (let round = 0; round < rounds; round += 1)
    for (const [i, target] of targets.entries()) {
      const sample = await load(target, how)
      const straight = samples[0]![round] ?? sample
      sample.added_p50 = sample.p50 - straight.p50
      sample.added_p99 = sample.p99 - straight.p99
      samples[i]!.push(sample)
    }
  console.log(`\n${how.streams ? 'streams: time to the first byte, ms' : 'unstreamed'}, ${how.at_once} at once`)
  for (const [i, { name, processes }] of targets.entries()) {
    const of = (value: (sample: Sample) => number, digits: number) => spread(samples[i]!.map(value), digits)
    const speed = how.streams
      ? `added p50 ${of((s) => s.added_p50, 2)}   p99 ${of((s) => s.added_p99, 2)}`
      : `${of((s) => s.rate, 0)} /s`
    console.log(`  ${name.padEnd(21)} ${speed}   p50 ${of((s) => s.p50, 2)}   p99 ${of((s) => s.p99, 2)}`)
    const cpu = [...Object.keys(processes), 'client'].map((part) => `${part} ${of((s) => s.cpu_ms[part]!, 2)}`)
    console.log(`  ${''.padEnd(21)} CPU ms a request: ${cpu.join('   ')}`)
  }
}

async function load({ url, headers, processes }: Target, how: How): Promise<Sample> {
  const body = JSON.stringify({ model, prompt: 'def f():', max_tokens: CHUNKS, stream: how.streams })
  const pids = Object.entries({ ...processes, client: process.pid })
  const used = () => pids.map(([name, pid]) => cpuMs(pid, { children: name === 'postgres' }))
  const before = used()
  const started = performance.now()
  const stagger_ms = how.streams ? (CHUNKS * CHUNK_MS) / how.at_once : 0
  const ms = await firstByteTimes({
    url,
    request: postRequest(url, { ...headers }, body),
    at_once: how.at_once,
    seconds: SECONDS,
    stagger_ms,
  })
  const seconds = (performance.now() - started) / 1000
  await sleep(200) // what is settled after the last answer is of these requests too
  const cpu_ms = used().map((after, i) => [pids[i]![0], (after - before[i]!) / ms.length])
  return {
    rate: ms.length / seconds,
    p50: quantile(ms, 0.5),
    p99: quantile(ms, 0.99),
    added_p50: 0,
    added_p99: 0,
    cpu_ms: Object.fromEntries(cpu_ms),
  }
}

/**
 * A node that costs almost nothing, so that what is measured stands in front of it: it answers everybody the same, and what came
 * with a ticket it reports as a real node does, at once and then every so often. It checks no ticket.
 */
async function runNode(gateway_url: string): Promise<string> {
  const unsettled: UsageRecord[] = []
  const server = createServer((req, res) => {
    const parts: Buffer[] = []
    req.on('data', (part) => void parts.push(part))
    req.on('end', async () => {
      const ticket = req.headers[TICKET_HEADER]
      const accepted = ticket ? { [ACCEPTED_HEADER]: '1' } : {}
      if (JSON.parse(Buffer.concat(parts).toString()).stream) await stream(res, accepted)
      else res.writeHead(200, { ...accepted, 'content-type': 'application/json' }).end(whole)
      if (ticket) unsettled.push(recordOf(String(ticket)))
    })
  })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const boot = { id: randomUUID(), folder_id: randomUUID(), number: 1 }
  let sequence = 0
  const report = async () => {
    const records = unsettled.splice(0, SYNC_RECORDS_MAX)
    const head = { node: statusOf(url), boot, sequence: ++sequence, sent_unix_ms: Date.now(), running_ids: [] }
    const body = JSON.stringify({ ...head, records })
    const headers = { [NODE_KEY_HEADER]: nodeKey.x, [NODE_SIGNATURE_HEADER]: await nodeKey.sign('report', body) }
    const answer = await fetch(`${gateway_url}/internal/sync`, { method: 'POST', body, headers })
    if (!answer.ok) unsettled.push(...records)
  }
  void keepReporting(report, () => unsettled.length > 0)
  return url
}

async function keepReporting(report: () => Promise<void>, isDue: () => boolean): Promise<never> {
  for (let last = 0; ; await sleep(GATHER_MS)) {
    if (!isDue() && performance.now() - last < HEARTBEAT_MS) continue
    last = performance.now()
    await report()
  }
}

const frame = { id: 'cmpl-bench', object: 'text_completion', created: 1_700_000_000, model }
const body = (text: string) =>
  JSON.stringify({ ...frame, choices: [{ index: 0, text, logprobs: null, finish_reason: 'stop' }] })
const whole = body(' token'.repeat(CHUNKS))
const chunk = `data: ${body(' token')}\n\n`

async function stream(res: ServerResponse, accepted: Record<string, string>): Promise<void> {
  res.writeHead(200, { ...accepted, 'content-type': 'text/event-stream' })
  for (let i = 0; i < CHUNKS && !res.destroyed; i += 1) {
    res.write(chunk)
    await sleep(CHUNK_MS)
  }
  res.end('data: [DONE]\n\n')
}

function recordOf(ticket: string): UsageRecord {
  const { request_id, attempt }: Ticket = JSON.parse(Buffer.from(ticket.split('.')[1]!, 'base64url').toString())
  const counts = { prompt_tokens: 5, cached_tokens: 0, completion_tokens: CHUNKS, delivered_tokens: CHUNKS }
  const times = { started_unix_ms: Date.now(), first_token_ms: 1, duration_ms: 2 }
  return { ticket, request_id, attempt, ...counts, outcome: 'stop', ...times }
}

function statusOf(url: string): NodeStatus {
  const blocks = { context_tokens: 1024, running: 0, waiting: 0, blocks_total: 64, blocks_free: 64 }
  return { node_id: NODE_ID, url, model, state: 'ready', ...blocks }
}

function pipeFiles(upstream: string): Record<string, string> {
  return {
    'pipe.js': `export default { fetch: (request) => fetch('${upstream}/', request) }`,
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

interface Part {
  url: string
  pid: number
  stop(): void
}

async function spawnPart(...args: string[]): Promise<Part> {
  const child = spawnScript([fileURLToPath(import.meta.url), ...args])
  const url = await new Promise<string>((done) => createInterface(child.stdout!).once('line', done))
  return { url, pid: child.pid!, stop: () => void child.kill('SIGKILL') }
}

async function spawnPortkey(): Promise<Part> {
  const port = await freePort()
  const child = spawnScript([join(portkey, 'build/start-server.js'), '--headless', `--port=${port}`])
  child.stdout!.resume()
  const url = `http://127.0.0.1:${port}`
  for (let tries = 0; tries < 100; tries += 1) {
    if (await fetch(url).catch(() => null)) return { url, pid: child.pid!, stop: () => void child.kill('SIGKILL') }
    await sleep(100)
  }
  throw new Error('Portkey does not answer')
}

function spawnScript(script: string[]) {
  const [command, ...args] = tiedCommand('SIGKILL', [process.execPath, ...script])
  const env = { ...process.env, NODE_ENV: 'production' }
  return spawn(command!, args, { stdio: ['ignore', 'pipe', 'inherit'], env })
}

function spread(values: number[], digits: number): string {
  const text = (value: number) => value.toFixed(digits)
  return `${text(quantile(values, 0.5))} (${text(Math.min(...values))}..${text(Math.max(...values))})`
}

const [part, gateway_url] = process.argv.slice(2)
if (part === 'node') console.log(await runNode(gateway_url!))
else await measure(Number(part ?? 5))
