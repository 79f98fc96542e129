// A server that webhooks are sent to: it keeps whatever comes, and answers as its path or the test says.

import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface Received {
  path: string
  headers: Record<string, string>
  body: string
  /** The id that repeated attempts share. */
  id: string
  came_unix_ms: number
}

/** What becomes of a request; by default 200. */
export type Behaviour = (received: Received, response: ServerResponse, request: IncomingMessage) => void

export interface Receiver {
  /** Without a slash at its end. */
  url: string
  received: Received[]
  behaviour: Behaviour
  /** Connections that were opened, whatever was sent over them. */
  connections: number
  stop(): Promise<void>
}

export async function startReceiver(address = '127.0.0.1'): Promise<Receiver> {
  const server = createServer((request, response) => {
    let body = ''
    request.setEncoding('utf8')
    request.on('data', (part) => {
      body += part
    })
    request.on('end', () => {
      const headers = request.headers as Record<string, string>
      const received = {
        path: request.url ?? '',
        headers,
        body,
        id: headers['webhook-id'] ?? '',
        came_unix_ms: Date.now(),
      }
      receiver.received.push(received)
      receiver.behaviour(received, response, request)
    })
    request.on('error', () => {})
  })
  server.on('connection', () => {
    receiver.connections += 1
  })
  await new Promise<void>((listening) => server.listen(0, address, listening))
  const receiver: Receiver = {
    url: `http://${address.includes(':') ? `[${address}]` : address}:${(server.address() as AddressInfo).port}`,
    received: [],
    behaviour: (_, response) => void response.end('ok'),
    connections: 0,
    stop: () =>
      new Promise((stopped) => {
        server.close(() => stopped())
        server.closeAllConnections()
      }),
  }
  return receiver
}
