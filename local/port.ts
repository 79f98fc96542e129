// Ports of this machine: any free one, or a given one that has to be.

import { createServer } from 'node:net'

/** A port nobody listens on. */
export function freePort(): Promise<number> {
  return listenOnce(0)
}

/** Rejects, naming the port, where somebody listens on it. */
export async function requireFreePort(port: number): Promise<void> {
  await listenOnce(port).catch((error: NodeJS.ErrnoException) => {
    throw error.code === 'EADDRINUSE' ? new Error(`port ${port} is in use; choose another with --port`) : error
  })
}

function listenOnce(port: number): Promise<number> {
  return new Promise((done, fail) => {
    const probe = createServer()
    probe.once('error', fail)
    probe.listen(port, '127.0.0.1', () => {
      const { port: got } = probe.address() as { port: number }
      probe.close(() => done(got))
    })
  })
}
