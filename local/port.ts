// Ports of this machine: any free one, or a given one that has to be.

import { randomInt } from 'node:crypto'
import { createServer } from 'node:net'

// Below what systems give to outgoing connections and to who asks for any port: nobody gets it before its user listens on it, or
// while that is started again.
const [FIRST, LAST] = [20_000, 32_000]

/** A port nobody listens on. */
export async function freePort(): Promise<number> {
  for (;;) {
    const got = await listenOnce(randomInt(FIRST, LAST)).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EADDRINUSE') throw error
    })
    if (got) return got
  }
}

/** The addresses that `localhost` may mean on this machine. */
export async function loopbacks(): Promise<string[]> {
  const has_ipv6 = await listenOnce(0, '::1').then(
    () => true,
    () => false,
  )
  return has_ipv6 ? ['127.0.0.1', '::1'] : ['127.0.0.1']
}

/** Rejects, naming the port, where somebody listens on it. */
export async function requireFreePort(port: number): Promise<void> {
  for (const address of await loopbacks())
    await listenOnce(port, address).catch((error: NodeJS.ErrnoException) => {
      throw error.code === 'EADDRINUSE' ? new Error(`port ${port} is in use; choose another with --port`) : error
    })
}

function listenOnce(port: number, address = '127.0.0.1'): Promise<number> {
  return new Promise((done, fail) => {
    const probe = createServer()
    probe.once('error', fail)
    probe.listen(port, address, () => {
      const { port: got } = probe.address() as { port: number }
      probe.close(() => done(got))
    })
  })
}
