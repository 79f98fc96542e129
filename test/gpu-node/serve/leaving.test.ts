// What a client that leaves is billed, against what its own kernel had acknowledged by then: raw sockets, clients that read, stop
// reading for a while, and leave at drawn moments in every way there is.

import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, onTestFinished, test } from 'vitest'
import { signTicket } from '../../../contract/internal/ticket.ts'
import { FakeGateway } from '../../support/fake-gateway.ts'
import { startFakeNode } from '../../support/fake-node.ts'
import { generateRequest, ticketFor } from '../../support/generate.ts'
import { ticketSigner } from '../../support/keys.ts'
import { type Random, seededRandom } from '../../support/random.ts'

const CLIENTS = Number(process.env.LEAVING_CLIENTS ?? 24)
const BILLED_AHEAD_MAX = 8

/** A stream over a socket of its own; what arrived stays in the kernel until it is read. */
async function openStream(url: string) {
  const request = generateRequest({ stream: true, max_tokens: 3000, response_id: 'id', logprobs: 0 })
  const { hostname, port } = new URL(url)
  const json = JSON.stringify(request)
  const head = [
    'POST /generate HTTP/1.1',
    `host: ${hostname}`,
    `x-ticket: ${await signTicket(ticketFor(request), ticketSigner)}`,
    `content-length: ${Buffer.byteLength(json)}`,
  ]
  const socket = connect(Number(port), hostname)
  onTestFinished(() => void socket.destroy())
  await once(socket, 'connect') // before it, it has no port to be found by
  socket.on('error', () => {}) // it may be reset, as it resets
  socket.write([...head, '', json].join('\r\n'))
  return { request_id: request.request_id, socket }
}

/** Bytes that the kernel has acknowledged for a socket, and its process has not read. */
function unreadBytes({ localPort, remotePort }: Socket): number {
  const ports = [localPort!, remotePort!].map((port) => port.toString(16).toUpperCase().padStart(4, '0'))
  const row = readFileSync('/proc/self/net/tcp', 'utf8').match(
    new RegExp(`:${ports[0]} [0-9A-F]{8}:${ports[1]} [0-9A-F]{2} [0-9A-F]{8}:([0-9A-F]{8})`),
  )
  return Number.parseInt(row![1]!, 16)
}

/** Of the frames that came whole. A frame may have several tokens: those that begin a character have no text of their own. */
function tokensIn(text: string): number {
  const chunks = text.matchAll(/^data: (\{.*\})$/gm).map(([, json]) => JSON.parse(json!) as Chunk)
  return chunks.reduce((tokens, { choices }) => tokens + (choices[0]?.logprobs?.tokens.length ?? 0), 0)
}

interface Chunk {
  choices: { logprobs: { tokens: string[] } | null }[]
}

/** Reads along, in drawn pieces and with drawn stops, until it has had enough; returns what it had acknowledged at the end. */
async function readAndLeave(socket: Socket, random: Random) {
  let text = ''
  const stops = Array.from({ length: 1 + random.below(4) }, () => random.below(60))
  for (const stop_ms of stops) {
    socket.pause()
    await sleep(stop_ms)
    socket.resume()
    const read = (part: Buffer) => {
      text += part.toString('latin1')
    }
    socket.on('data', read)
    await sleep(random.below(40))
    socket.off('data', read)
  }
  socket.pause()
  if (random.chance(0.5)) await sleep(random.below(60)) // and leaves with what it has not read
  const unread = unreadBytes(socket) + socket.readableLength // a paused socket may have read a piece ahead
  const leave = random.pick(['end', 'destroy', 'resetAndDestroy'] as const)
  socket[leave]()
  const frame_bytes_max = Math.max(1, ...text.split('\n\n').map((frame) => frame.length + 12)) // with the chunk around it
  return { acknowledged_tokens: tokensIn(text) + Math.floor(unread / frame_bytes_max), leave }
}

test(`${CLIENTS} clients that leave are billed what their kernels acknowledged, and at most ${BILLED_AHEAD_MAX} tokens more`, {
  timeout: 120_000,
}, async () => {
  const random = seededRandom()
  const gateway = await FakeGateway.start()
  const node = await startFakeNode({ engine: { step_ms: 4, blocks: 4096 }, config: { gateway_url: gateway.url } })
  const clients = Array.from({ length: CLIENTS }, async (_, i) => {
    await sleep(i % 7)
    const { request_id, socket } = await openStream(node.url)
    const { acknowledged_tokens, leave } = await readAndLeave(socket, random)
    const { completion_tokens, delivered_tokens, outcome } = await gateway.record(request_id, 20_000)
    const billed = delivered_tokens === 0 ? 0 : Math.min(completion_tokens, delivered_tokens + BILLED_AHEAD_MAX)
    const said = `${leave}: ${acknowledged_tokens} acknowledged, ${delivered_tokens} delivered, ${completion_tokens} made`
    expect(outcome, said).toBe('client_gone')
    expect(delivered_tokens, said).toBeLessThanOrEqual(billed)
    expect(billed, said).toBeLessThanOrEqual(acknowledged_tokens + BILLED_AHEAD_MAX)
    socket.destroy()
  })
  await Promise.all(clients)
})
