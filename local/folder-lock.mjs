// One process a folder, for each purpose. The lock is an abstract socket, which the kernel frees when its last holder ends,
// however it ends; so no stale lock ever needs a hand.

import { createHash } from 'node:crypto'
import { realpathSync } from 'node:fs'
import { createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

const ASK_AGAIN_MS = 200

/**
 * The lock, or null where another process has it. Closing it gives it free. A child that inherits its `_handle.fd` keeps it
 * until that child has ended, too. Only Linux has such sockets: elsewhere everybody gets a lock, which holds nobody back.
 * @param {string} purpose
 * @param {string} folder
 * @returns {Promise<import('node:net').Server | null>}
 */
export function tryLock(purpose, folder) {
  const lock = createServer().unref()
  if (process.platform !== 'linux') return Promise.resolve(lock)
  const name = createHash('sha256').update(realpathSync(folder)).digest('hex')
  return new Promise((resolve, reject) => {
    lock.once('error', (error) => (error.code === 'EADDRINUSE' ? resolve(null) : reject(error)))
    lock.listen(`\0ziya-${purpose}-${name}`, () => resolve(lock))
  })
}

/** The lock, once its holder gave it free; `onWait` is called before the wait where there is one. */
export async function waitForLock(purpose, folder, onWait) {
  for (let is_first = true; ; is_first = false) {
    const lock = await tryLock(purpose, folder)
    if (lock) return lock
    if (is_first) onWait()
    await sleep(ASK_AGAIN_MS)
  }
}
