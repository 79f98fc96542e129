// What the files of one run of the tests share, because making it takes each of them seconds: a migrated cluster to copy, the
// worker's bundle. The first file that asks makes it; the folder goes with the run.

import { existsSync, mkdtempSync, renameSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { waitForLock } from '../../local/folder-lock.mjs'

/** vitest calls it before the first file; what it returns, after the last. */
export default function openFolder(): () => void {
  const folder = mkdtempSync(join(tmpdir(), 'ziya-tests-'))
  process.env.MADE_ONCE_IN = folder
  return () => rmSync(folder, { recursive: true, force: true })
}

/** The path of what `make` left at the path that it was given. */
export async function madeOnce(name: string, make: (path: string) => Promise<void>): Promise<string> {
  const folder = process.env.MADE_ONCE_IN!
  const path = join(folder, name)
  if (existsSync(path)) return path
  const lock = await waitForLock(name, folder, () => {})
  try {
    if (existsSync(path)) return path
    await make(`${path}.new`)
    renameSync(`${path}.new`, path)
    return path
  } finally {
    lock.close()
  }
}
