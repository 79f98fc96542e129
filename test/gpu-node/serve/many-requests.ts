// A program of its own: a node over a fake engine serves some thousands of requests of every kind, streamed, whole, left
// early, refused; then it tells what is left of them. Prints one line of JSON.

import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { Agent, createServer, request as httpRequest, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { pino } from 'pino'
import { ANSWER_SIGNATURE_HEADER, NODE_SIGNATURE_HEADER, type SyncRequest } from '../../../contract/internal/sync.ts'
import { signTicket } from '../../../contract/internal/ticket.ts'
import { startService } from '../../../gpu-node/service.ts'
import { generateRequest, ticketFor } from '../../support/generate.ts'
import { issuer, otherSigner, ticketSigner } from '../../support/keys.ts'
import { nativeRunner, nodeConfig } from '../../support/native-runner.ts'
import { type Random, seededRandom } from '../../support/random.ts'

export interface ManyRequestsResult {
  kinds: Record<string, number>
  heap_bytes: [early: number, late: number]
  journal_bytes: number
  timers: [before: number, after: number]
  listeners: [before: number, after: number]
  blocks_held: number
  warnings: string[]
}

const BLOCKS = 512
const IN_FLIGHT = 32
const { seed, requests } = JSON.parse(process.argv[2]!) as { seed: number; requests: number }
const random = seededRandom(seed)
const warnings: string[] = []
process.on('warning', (warning) => warnings.push(String(warning)))

const gateway = createServer(async (request, response) => {
  const { records } = JSON.parse((await Array.fromAsync(request)).join('')) as SyncRequest
  const signature = String(request.headers[NODE_SIGNATURE_HEADER])
  const settled = records.map(({ request_id, attempt }) => ({ request_id, attempt, outcome: 'posted' }))
  const answer = JSON.stringify({ settled, stop: [], ticket_keys: issuer.keys })
  response.setHeader(ANSWER_SIGNATURE_HEADER, await issuer.signAnswer(signature, answer))
  response.end(answer)
})
await new Promise<void>((resolve) => gateway.listen(0, '127.0.0.1', resolve))

const data_dir = mkdtempSync(join(tmpdir(), 'ziya-many-'))
const config = nodeConfig({
  data_dir,
  gateway_url: `http://127.0.0.1:${(gateway.address() as AddressInfo).port}`,
  waiting_max: IN_FLIGHT, // the odd one finds no room
  sequences_max: 16,
})
const { runner } = nativeRunner(config, { engine: { blocks: BLOCKS, eos_one_in: 30 }, context_tokens: 512 })
const node = await startService({ config, runner, log: pino({ level: 'silent' }) })
const agent = new Agent({ keepAlive: true, maxSockets: IN_FLIGHT })

const KINDS = ['whole', 'streamed', 'choices', 'left', 'left unread', 'refused', 'at its deadline'] as const

async function post(kind: (typeof KINDS)[number]): Promise<void> {
  const changes = { stream: kind !== 'whole', n: kind === 'choices' ? 3 : 1, max_tokens: 1 + random.below(12) }
  const request = generateRequest({ ...changes, prompts: [[{ text: `request ${random.below(1e6)} of many` }]] })
  const ticket = ticketFor(request, kind === 'at its deadline' ? { duration_ms_max: 1 } : {})
  const headers = { 'x-ticket': await signTicket(ticket, kind === 'refused' ? otherSigner : ticketSigner) }
  const response = await new Promise<IncomingMessage | null>((resolve) => {
    const call = httpRequest(`${node.url}/generate`, { method: 'POST', agent, headers })
    call.on('response', resolve).on('error', () => resolve(null))
    call.end(JSON.stringify(request))
    if (kind === 'left unread') call.destroy()
  })
  if (!response) return
  response.on('error', () => {})
  if (kind === 'left') return void response.destroy()
  response.resume()
  await new Promise((resolve) => response.on('close', resolve))
}

async function serve(count: number, kinds: Record<string, number>, random: Random): Promise<void> {
  let left = count
  const lane = async () => {
    while (left-- > 0) {
      const kind = random.pick(KINDS)
      kinds[kind] = (kinds[kind] ?? 0) + 1
      await post(kind)
    }
  }
  await Promise.all(Array.from({ length: IN_FLIGHT }, lane))
}

async function whenIdle(): Promise<{ blocks_total: number; blocks_free: number }> {
  for (;;) {
    const now = (await (await fetch(`${node.url}/status`)).json()) as Record<string, number>
    if (now.running === 0 && now.waiting === 0) return now as never
    await sleep(5)
  }
}

async function heapBytes(): Promise<number> {
  await whenIdle()
  await sleep(50)
  globalThis.gc!()
  return process.memoryUsage().heapUsed
}

const timers = () => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length
const listeners = () => process.eventNames().reduce((sum, name) => sum + process.listenerCount(name), 0)

const kinds: Record<string, number> = {}
await serve(requests / 5, kinds, random) // caches, pools and compiled code reach their size
const before = { timers: timers(), listeners: listeners(), heap: await heapBytes() }
await serve((requests / 5) * 4, kinds, random)
const heap = await heapBytes()
const { blocks_total, blocks_free } = await whenIdle()
const result: ManyRequestsResult = {
  kinds,
  heap_bytes: [before.heap, heap],
  journal_bytes: statSync(join(data_dir, 'journal.jsonl')).size,
  timers: [before.timers, timers()],
  listeners: [before.listeners, listeners()],
  blocks_held: blocks_total - blocks_free,
  warnings,
}
agent.destroy()
await node.drain()
gateway.close()
gateway.closeAllConnections()
rmSync(data_dir, { recursive: true })
console.log(JSON.stringify(result))
