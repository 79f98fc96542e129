// Brings a database up to date. migrations/*.sql are tables: applied in the order of their names, each once, and never changed
// afterwards, which their recorded checksums hold. What stands in folders can be made again, so a function is read in one place: when
// any of it has changed, the functions' schemas are dropped and everything in the folders is applied anew. All of it is one transaction.

import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import postgres from 'postgres'

interface Migration {
  name: string
  sql: string
  checksum: string
}

const folder = fileURLToPath(new URL('../migrations/', import.meta.url))

/** Applies what is missing and returns its names; the functions together are one name. Two at once wait for each other. */
export async function migrate(
  database_url: string,
  migrations: Migration[] = readMigrations(),
  functions: Migration = readFunctions(),
): Promise<string[]> {
  const sql = postgres(database_url, { max: 1, prepare: false, fetch_types: false, onnotice: () => {} })
  try {
    return await sql.begin((transaction) => applyMissing(transaction, migrations, functions))
  } finally {
    await sql.end({ timeout: 5 })
  }
}

export function readMigrations(): Migration[] {
  return sqlFiles(folder)
    .filter(({ name }) => /^\d/.test(name))
    .map(({ name, sql }) => migration(name, sql))
}

// What a file needs from another folder comes before it; the names within a folder decide nothing.
const FOLDERS = ['types', 'ledger', 'api', 'triggers', 'views']

/** All that can be made again as one text: the schemas, what is in them, whether it holds together, and who may call it. */
export function readFunctions(): Migration {
  const made = FOLDERS.flatMap((name) => sqlFiles(join(folder, name))).map(({ sql }) => sql)
  const [schemas, bodies, rights] = ['schemas', 'bodies', 'rights'].map((name) =>
    readFileSync(join(folder, `${name}.sql`), 'utf8'),
  )
  return migration('functions', [schemas, ...made, bodies, rights].join('\n'))
}

function sqlFiles(from: string): { name: string; sql: string }[] {
  if (!existsSync(from)) return []
  return readdirSync(from)
    .filter((name) => name.endsWith('.sql'))
    .sort()
    .map((name) => ({ name, sql: readFileSync(join(from, name), 'utf8') }))
}

function migration(name: string, sql: string): Migration {
  return { name, sql, checksum: createHash('sha256').update(sql).digest('hex') }
}

async function applyMissing(
  sql: postgres.TransactionSql,
  migrations: Migration[],
  functions: Migration,
): Promise<string[]> {
  await sql`select pg_advisory_xact_lock(hashtext('schema_migrations'))`
  await sql`create table if not exists schema_migrations (
    name text primary key, checksum text not null, applied_at timestamptz not null default clock_timestamp())`
  const applied = await sql<{ name: string; checksum: string }[]>`select name, checksum from schema_migrations`
  const checksums = new Map(applied.map((row) => [row.name, row.checksum]))
  const missing = missingOf(migrations, checksums)
  const tables_change = missing.length > 0
  if (checksums.get(functions.name) !== functions.checksum) missing.push(functions)
  // A view holds the columns that it shows: views are gone while tables change, and are made anew afterwards.
  if (tables_change) await sql`drop schema if exists read cascade`
  for (const each of missing) await apply(sql, each)
  if (tables_change && !missing.includes(functions)) await apply(sql, functions)
  return missing.map(({ name }) => name)
}

async function apply(sql: postgres.TransactionSql, { name, sql: text, checksum }: Migration): Promise<void> {
  await sql.unsafe(text)
  await sql`insert into schema_migrations (name, checksum) values (${name}, ${checksum})
    on conflict (name) do update set checksum = excluded.checksum, applied_at = clock_timestamp()`
}

function missingOf(migrations: Migration[], applied: Map<string, string>): Migration[] {
  for (const { name, checksum } of migrations) {
    if (applied.has(name) && applied.get(name) !== checksum)
      throw new Error(`${name} was changed after it had been applied; write a new migration instead`)
  }
  return migrations.filter((migration) => !applied.has(migration.name))
}
