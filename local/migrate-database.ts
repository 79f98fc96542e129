// `npm run migrate`: brings a database up to date before a gateway is started on it, and says what was applied.

import { parseArgs } from 'node:util'
import { adviceOn } from './database.ts'
import { migrate } from './migrate.ts'

const usage = `npm run migrate -- --database URL
  --database URL  the Postgres, as the owner of its tables ($DATABASE_URL)`

process.exitCode = await main().catch(explain)

async function main(): Promise<number> {
  const database_url = databaseUrl()
  if (!database_url) {
    console.error(usage)
    return 2
  }
  const applied = await migrate(database_url)
  console.log(applied.length > 0 ? `✓ applied ${applied.join(', ')}` : '✓ nothing to apply')
  return 0
}

function databaseUrl(): string | undefined {
  try {
    return parseArgs({ options: { database: { type: 'string' } } }).values.database ?? process.env.DATABASE_URL
  } catch (error) {
    console.error(`✗ ${(error as Error).message}`)
    return undefined
  }
}

/** One line, and the exit code. */
function explain(error: Error & { code?: string }): number {
  console.error(`✗ ${error.message.split('\n')[0] || error.code}${adviceOn(error)}`)
  return 1
}
