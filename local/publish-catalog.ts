// `npm run catalog -- FILE`: publishes a catalog of models as the owner of the database. `npm run admin -- catalog publish` does the same by
// the API, as an operator.

import { parseArgs } from 'node:util'
import { CATALOG, publishCatalog, readCatalog } from './catalog.ts'
import { adviceOn } from './database.ts'

const usage = `npm run catalog -- [FILE] [--database URL] [--check]
  FILE            the catalog (${CATALOG}); models/catalog.schema.json says what is in it
  --database URL  the Postgres, as the owner of its tables ($DATABASE_URL)
  --check         reads the file and publishes nothing`

process.exitCode = await main().catch(explain)

async function main(): Promise<number> {
  const { file = CATALOG, database_url, check } = given()
  if (!check && !database_url) {
    console.error(usage)
    return 2
  }
  const models = readCatalog(file)
  if (check) console.log(`✓ ${models.length} models`)
  else {
    const { version } = await publishCatalog(database_url!, { models, source: 'operator', by: 'npm run catalog' })
    console.log(`✓ the catalog is number ${version}, with ${models.length} models; every gateway has it within seconds`)
  }
  return 0
}

function given(): { file?: string | undefined; database_url: string | undefined; check: boolean } {
  const options = { database: { type: 'string' }, check: { type: 'boolean' } } as const
  try {
    const { values, positionals } = parseArgs({ options, allowPositionals: true })
    if (positionals.length > 1) throw new Error('one file at a time')
    const database_url = values.database ?? process.env.DATABASE_URL
    return { file: positionals[0], database_url, check: values.check ?? false }
  } catch (error) {
    console.error(`✗ ${(error as Error).message}`)
    return { database_url: undefined, check: false }
  }
}

/** One line, and the exit code. */
function explain(error: Error & { code?: string }): number {
  console.error(`✗ ${error.message.split('\n')[0] || error.code}${adviceOn(error)}`)
  return 1
}
