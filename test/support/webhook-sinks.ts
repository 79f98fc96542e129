// Receivers of every kind, good and bad, behind one server: what becomes of a request stands in the first part of its path.

import { readFileSync } from 'node:fs'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { type Behaviour, type Received, startReceiver } from './receiver.ts'

export const SINKS = ['ok', 'error', 'slow', 'reset', 'gone', 'redirect', 'endless', 'throttled', 'wrong-tls'] as const
export type Sink = (typeof SINKS)[number]

/** What is delivered in the end, whatever is cut. */
export const GOOD: readonly Sink[] = ['ok', 'endless']

export interface Sinks {
  urlOf(sink: Sink, name: string): string
  /** What came to the sink of this name. */
  at(sink: Sink, name: string): Received[]
  all: Received[]
  /** The bytes that were taken of endless answers, at most. */
  endless_bytes: number
  stop(): Promise<void>
}

export const RETRY_AFTER_S = 60

const PART = Buffer.alloc(4096, 'x')

export async function startSinks(): Promise<Sinks> {
  const receiver = await startReceiver()
  const behaviours: Record<string, Behaviour> = {
    ok: (_, response) => void response.end('thanks'),
    error: (_, response) => void response.writeHead(500).end('oops'),
    slow: () => {}, // never answered
    reset: (_, __, request) => void request.socket.resetAndDestroy(),
    gone: (_, response) => void response.writeHead(410).end(),
    redirect: (_, response) => void response.writeHead(302, { location: `${receiver.url}/ok/redirected` }).end(),
    throttled: (_, response) => void response.writeHead(429, { 'retry-after': String(RETRY_AFTER_S) }).end(),
    endless: (_, response) => {
      let bytes = 0
      const write = () => {
        while (!response.destroyed && response.write(PART)) bytes += PART.length
        sinks.endless_bytes = Math.max(sinks.endless_bytes, bytes)
      }
      response.on('drain', write)
      response.writeHead(200)
      write()
    },
  }
  receiver.behaviour = (received, response, request) =>
    behaviours[received.path.split('/')[1]!]!(received, response, request)
  const tls = createServer({ key: vector('elsewhere.key'), cert: vector('elsewhere.crt') }, (request, response) => {
    sinks.all.push({ path: request.url ?? '', headers: {}, body: '', id: '', came_unix_ms: Date.now() })
    response.end()
  })
  tls.on('tlsClientError', () => {})
  await new Promise<void>((listening) => tls.listen(0, '127.0.0.1', listening))
  const sinks: Sinks = {
    urlOf: (sink, name) =>
      sink === 'wrong-tls'
        ? `https://127.0.0.1:${(tls.address() as AddressInfo).port}/${sink}/${name}`
        : `${receiver.url}/${sink}/${name}`,
    at: (sink, name) => receiver.received.filter(({ path }) => path === `/${sink}/${name}`),
    all: receiver.received,
    endless_bytes: 0,
    stop: async () => {
      tls.close()
      tls.closeAllConnections()
      await receiver.stop()
    },
  }
  return sinks
}

function vector(file: string): Buffer {
  return readFileSync(join(import.meta.dirname, '../vectors/tls', file))
}
