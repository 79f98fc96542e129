// One process a data folder: a second one would take the first one's running generations for lost. Two locks, which the kernel frees
// when their process dies, however it dies; so no stale lock ever needs a hand. The one on a file holds between containers that share
// the folder; the abstract socket, within one network namespace, is what releases before the file's looked at.

import { createHash } from 'node:crypto'
import { mkdirSync, realpathSync } from 'node:fs'
import { createServer, type Server } from 'node:net'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'

export interface FolderLock {
  close(): void
}

/** Rejects where another process has the folder. Closing what is returned gives it free. */
export async function lockFolder(folder: string): Promise<FolderLock> {
  mkdirSync(folder, { recursive: true })
  const file = lockFile(folder)
  try {
    const socket = process.platform === 'linux' ? await lockName(folder) : null
    return {
      close: () => {
        socket?.close()
        file.close()
      },
    }
  } catch (error) {
    file.close()
    throw error
  }
}

// SQLite is what Node has that locks a file (fcntl, or what the system has in its place). Nothing is ever written into it.
function lockFile(folder: string): DatabaseSync {
  const file = new DatabaseSync(join(folder, 'node.lock'), { timeout: 0 })
  try {
    file.exec('pragma locking_mode = exclusive; begin exclusive')
    return file
  } catch (error) {
    file.close()
    throw (error as { errcode?: number }).errcode === SQLITE_BUSY ? taken(folder) : error
  }
}

const SQLITE_BUSY = 5

function lockName(folder: string): Promise<Server> {
  const name = createHash('sha256').update(realpathSync(folder)).digest('hex')
  const lock = createServer().unref()
  return new Promise((resolve, reject) => {
    lock.on('error', () => reject(taken(folder)))
    lock.listen(`\0ziya-node-${name}`, () => resolve(lock))
  })
}

function taken(folder: string): Error {
  return new Error(`another node is using ${folder}`)
}
