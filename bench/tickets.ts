// What a ticket costs, in CPU: the gateway's part in workerd, a node's part here, of which its event loop has to wait for the share
// that is not the thread pool's.
//   node bench/tickets.ts

import { hash } from 'node:crypto'
import { join } from 'node:path'
import { build } from 'esbuild'
import { signer } from '../contract/ed25519.ts'
import { ticketIssuer, verifyTicket } from '../contract/internal/ticket.ts'
import { serveWorkerd } from '../local/workerd.ts'
import { cpuMs } from './cpu-time.ts'

const SEED = Buffer.alloc(32, 't').toString('base64url')
const TIMES = 500
const ROUNDS = 6
const BODY = 'x'.repeat(2000) // as a request of some hundred words is
const PERMISSION = {
  request_id: '0b0f2a52-7a39-4c7e-8a54-7f1b8f2b9a11',
  attempt: 1,
  node_id: 'gpu-1',
  body_sha256: 'A'.repeat(43),
  expires_unix_ms: 1_700_000_000_000,
  cache_salt: 'A'.repeat(43),
  model: 'ziya-coding-mini',
  prompt_tokens_max: 1000,
  request_output_tokens_max: 1000,
  duration_ms_max: 600_000,
}
const CLAIM = { account_id: '1234', key_id: '5678', price_version: 1, reserved_nanousd: '660', issued_unix_ms: 1 }

const worker = `
import { bodyHash, ticketIssuer } from './contract/internal/ticket.ts'
let issuer
let text
const parts = {
  '/hash': () => bodyHash('${BODY}'),
  '/issue': () => issuer.issue(${JSON.stringify(PERMISSION)}, ${JSON.stringify(CLAIM)}),
  '/open': () => issuer.open(text),
  '/answer': () => issuer.signAnswer('x', '${BODY}'),
}
export default {
  async fetch(request) {
    issuer ??= await ticketIssuer(['${SEED}'])
    text ??= await parts['/issue']()
    const part = parts[new URL(request.url).pathname]
    for (let i = 0; i < ${TIMES}; i += 1) await part()
    return new Response('done')
  },
}`

const CONFIG = `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [(name = "tickets", worker = (
    modules = [(name = "worker.js", esModule = embed "worker.js")], compatibilityDate = "2026-11-17"))],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "tickets")]
);`

await measureGateway()
await measureNode()
process.exit(0)

async function measureGateway(): Promise<void> {
  const root = join(import.meta.dirname, '..')
  const options = { bundle: true, format: 'esm', write: false } as const
  const bundle = await build({ stdin: { contents: worker, resolveDir: root, loader: 'js' }, ...options })
  const files = { 'worker.js': bundle.outputFiles[0]!.text, 'workerd.capnp': CONFIG }
  const server = await serveWorkerd(files, { sockets: ['http'], log: console.error })
  for (const [path, what] of [
    ['/hash', 'hashes a body of 2 KB'],
    ['/issue', 'issues a ticket'],
    ['/open', 'opens one that came back'],
    ['/answer', 'signs the answer to a report'],
  ] as const) {
    const url = `http://127.0.0.1:${server.ports.http}${path}`
    await fetch(url)
    const before = cpuMs(server.pid, { children: false })
    for (let round = 0; round < ROUNDS; round += 1) await fetch(url)
    const us = ((cpuMs(server.pid, { children: false }) - before) * 1000) / (ROUNDS * TIMES)
    console.log(`the gateway ${what}: ${us.toFixed(0)} µs`)
  }
  await server.stop()
}

async function measureNode(): Promise<void> {
  const issuer = await ticketIssuer([SEED])
  const key = await signer(SEED)
  const text = await issuer.issue(PERMISSION, CLAIM)
  const body = Buffer.from(BODY)
  const parts: [string, () => unknown][] = [
    ['checks a ticket', () => verifyTicket(text, issuer.keys)],
    ['hashes a body of 2 KB', () => hash('sha256', body, 'base64url')],
    ['signs a report', () => key.sign('report', BODY)],
  ]
  for (const [what, part] of parts) {
    for (let i = 0; i < TIMES; i += 1) await part()
    const [all, loop] = [process.cpuUsage(), process.threadCpuUsage()]
    for (let i = 0; i < ROUNDS * TIMES; i += 1) await part()
    const us = ({ user, system }: NodeJS.CpuUsage) => ((user + system) / (ROUNDS * TIMES)).toFixed(0)
    console.log(
      `a node ${what}: ${us(process.cpuUsage(all))} µs, ${us(process.threadCpuUsage(loop))} of the event loop's`,
    )
  }
}
