// The Postgres of a distribution, with its defaults: JIT is on there, and the embedded one has none.

import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type RunningPostgres, startPostgres } from '../../local/postgres.ts'

const FOLDER = '/usr/lib/postgresql'

/** The programs of the oldest that is installed whole, or null. */
export function debianPrograms(): { initdb: string; postgres: string } | null {
  const versions = existsSync(FOLDER) ? readdirSync(FOLDER).sort((a, b) => Number(a) - Number(b)) : []
  const found = versions
    .map((version) => ({ initdb: `${FOLDER}/${version}/bin/initdb`, postgres: `${FOLDER}/${version}/bin/postgres` }))
    .filter(({ initdb, postgres }) => existsSync(initdb) && existsSync(postgres))
  return found[0] ?? null
}

export const DEBIAN_ABSENT = 'no PostgreSQL of the distribution here (apt-get install postgresql-15)'

export async function startDebianPostgres(settings: Record<string, string> = {}): Promise<RunningPostgres> {
  const folder = mkdtempSync(join(tmpdir(), 'ziya-debian-'))
  const running = await startPostgres({
    data_dir: join(folder, 'data'),
    durable: false,
    programs: debianPrograms()!,
    settings,
  })
  return {
    ...running,
    stop: async () => {
      await running.stop()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}
