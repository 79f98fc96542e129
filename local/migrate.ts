// Brings a database up to date: applies migrations/*.sql in the order of their names, each once and in its own transaction.
// What was applied is recorded with its checksum, because a migration that changed afterwards never ran as it reads.

import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import postgres from 'postgres'

interface Migration {
  name: string
  sql: string
  checksum: string
}

const folder = fileURLToPath(new URL('../migrations/', import.meta.url))

/** Applies what is missing and returns its names. Two at once wait for each other. */
export async function migrate(database_url: string, migrations: Migration[] = readMigrations()): Promise<string[]> {
  const sql = postgres(database_url, { max: 1, prepare: false, fetch_types: false, onnotice: () => {} })
  try {
    return await sql.begin((transaction) => applyMissing(transaction, migrations))
  } finally {
    await sql.end({ timeout: 5 })
  }
}

export function readMigrations(): Migration[] {
  return readdirSync(folder)
    .filter((name) => name.endsWith('.sql'))
    .sort()
    .map((name) => {
      const sql = readFileSync(join(folder, name), 'utf8')
      return { name, sql, checksum: createHash('sha256').update(sql).digest('hex') }
    })
}

async function applyMissing(sql: postgres.TransactionSql, migrations: Migration[]): Promise<string[]> {
  await sql`select pg_advisory_xact_lock(hashtext('schema_migrations'))`
  await sql`create table if not exists schema_migrations (
    name text primary key, checksum text not null, applied_at timestamptz not null default clock_timestamp())`
  const applied = await sql<{ name: string; checksum: string }[]>`select name, checksum from schema_migrations`
  const missing = missingOf(migrations, new Map(applied.map((row) => [row.name, row.checksum])))
  for (const migration of missing) {
    await sql.unsafe(migration.sql)
    await sql`insert into schema_migrations (name, checksum) values (${migration.name}, ${migration.checksum})`
  }
  return missing.map((migration) => migration.name)
}

function missingOf(migrations: Migration[], applied: Map<string, string>): Migration[] {
  for (const { name, checksum } of migrations) {
    if (applied.has(name) && applied.get(name) !== checksum)
      throw new Error(`${name} was changed after it had been applied; write a new migration instead`)
  }
  return migrations.filter((migration) => !applied.has(migration.name))
}
