// Clusters to copy. initdb and the migrations take seconds of a core, a copy takes a moment; and so many files want one.

import { execFileSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { migrate } from '../../local/migrate.ts'
import { type RunningPostgres, startPostgres } from '../../local/postgres.ts'
import { madeOnce } from './made-once.ts'

/** Puts a cluster there that nobody has used: a migrated one, or one as initdb left it. */
export async function newCluster(data_dir: string, is_migrated = true): Promise<void> {
  copy(join(await (is_migrated ? migratedCluster() : emptyCluster()), 'data'), data_dir)
}

function emptyCluster(): Promise<string> {
  return madeOnce('empty-cluster', async (folder) => {
    mkdirSync(folder)
    await use(join(folder, 'data'), async () => {})
  })
}

function migratedCluster(): Promise<string> {
  return madeOnce('migrated-cluster', async (folder) => {
    mkdirSync(folder)
    await newCluster(join(folder, 'data'), false)
    await use(join(folder, 'data'), ({ url }) => migrate(url))
  })
}

async function use(data_dir: string, work: (running: RunningPostgres) => Promise<unknown>): Promise<void> {
  const running = await startPostgres({ data_dir, durable: false })
  await work(running).finally(() => running.stop())
}

// cp keeps the owner, who is another user where the tests run as root.
function copy(from: string, to: string): void {
  for (const end of ['', '.password']) execFileSync('cp', ['-a', from + end, to + end])
}
