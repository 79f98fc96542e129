// A door on this machine to a database that wants TLS: workerd's way to a database is plain TCP, as Hyperdrive's is to a worker, so what
// it sends to the door is carried on encrypted.

import type { AddressInfo } from 'node:net'
import { createServer, type Socket } from 'node:net'
import { pipeline } from 'node:stream'
import { openSocket } from './database.ts'
import type { Database } from './database-url.mjs'

export interface Tunnel {
  address: string
  close(): void
}

/** `log` hears why a connection could not be made. */
export async function openTunnel(database: Database, log: (line: string) => void): Promise<Tunnel> {
  const open = new Set<Socket>()
  const server = createServer({ pauseOnConnect: true, noDelay: true }, async (client) => {
    keep(open, client)
    try {
      const far = keep(open, await openSocket(database))
      pipeline(client, far, client, () => {}) // either end ends both
    } catch (error) {
      log(`database: ${(error as Error).message}`)
      client.destroy()
    }
  })
  await new Promise<void>((done, fail) => server.once('error', fail).listen(0, '127.0.0.1', done))
  return {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: () => {
      server.close()
      for (const socket of open) socket.destroy()
    },
  }
}

/** Every socket that is open, so that closing leaves none; an error of one ends it, and is seen by whoever reads from it. */
function keep(open: Set<Socket>, socket: Socket): Socket {
  open.add(socket)
  return socket.on('error', () => {}).once('close', () => open.delete(socket))
}
