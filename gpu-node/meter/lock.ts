// One process a data folder: a second one would take the first one's running generations for lost. The lock is an
// abstract socket, which the kernel frees when its process dies, however it dies; so no stale lock ever needs a hand.

import { createHash } from 'node:crypto'
import { mkdirSync, realpathSync } from 'node:fs'
import { createServer, type Server } from 'node:net'

/** Rejects where another process has the folder. Closing the returned server gives it free. Linux only: elsewhere null. */
export async function lockFolder(folder: string): Promise<Server | null> {
  if (process.platform !== 'linux') return null
  mkdirSync(folder, { recursive: true })
  const name = createHash('sha256').update(realpathSync(folder)).digest('hex')
  const lock = createServer().unref()
  return new Promise((resolve, reject) => {
    lock.on('error', () => reject(new Error(`another node is using ${folder}`)))
    lock.listen(`\0ziya-node-${name}`, () => resolve(lock))
  })
}
