// Brings a database up to date. migrations/*.sql are tables: applied in the order of their names, each once, and never changed
// afterwards, which their recorded checksums hold. What stands in folders can be made again, so a function is read in one place: when
// any of it has changed, the functions' schemas are dropped and everything in the folders is applied anew. All of it is one transaction.

import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type postgres from 'postgres'
import { CATALOG, publishRelease } from './catalog.ts'
import { openDatabase } from './database.ts'

interface Migration {
  name: string
  sql: string
  checksum: string
}

const folder = fileURLToPath(new URL('../migrations/', import.meta.url))

// The oldest that the tests run on.
const SERVER_VERSION_MIN = 15

/**
 * Applies what is missing and returns its names; the functions together are one name. Two at once wait for each other. Then the catalog of
 * this file is published, where it is not yet. `say` hears what it waits for and what is not as it should be, in a line each.
 */
export async function migrate(
  database_url: string,
  migrations: Migration[] = readMigrations(),
  functions: Migration = readFunctions(),
  catalog: string | null = CATALOG,
  say: (line: string) => void = console.error,
): Promise<string[]> {
  const sql = openDatabase(database_url, { onnotice: () => {} })
  try {
    await requireServer(sql)
    const applied = await betweenOthers(sql, say, (transaction) => applyMissing(transaction, migrations, functions))
    await calmReaders(sql, say)
    if (catalog !== null) await publishRelease(database_url, { file: catalog, by: 'npm run migrate' }, say)
    return applied
  } finally {
    await sql.end({ timeout: 5 })
  }
}

async function requireServer(sql: postgres.Sql): Promise<void> {
  const [row] =
    await sql`select current_setting('server_version') as version, current_setting('server_version_num')::int / 10000 as major`
  if (row!.major < SERVER_VERSION_MIN)
    throw new Error(`this server is PostgreSQL ${row!.version}: ${SERVER_VERSION_MIN} or newer is needed`)
}

// Whoever queues behind a statement of ours that waits for a lock waits too. So it waits for less than an admission does, gives all its
// locks back, and tries again.
const LOCK_MS_MAX = 200
const PAUSE_MS = 1000
const WAIT_MS_MAX = 10 * 60_000

async function betweenOthers<T>(
  sql: postgres.Sql,
  say: (line: string) => void,
  work: (transaction: postgres.TransactionSql) => Promise<T>,
): Promise<T> {
  let said = ''
  for (const deadline = Date.now() + WAIT_MS_MAX; ; await sleep(PAUSE_MS)) {
    try {
      return (await sql.begin(work)) as T
    } catch (error) {
      if ((error as { code?: string }).code !== '55P03') throw error
      const holder = await holderOf(sql)
      if (Date.now() > deadline) throw new Error(`nothing was applied: ${holder}`)
      if (holder !== said) say(`  waiting: ${holder}`)
      said = holder
    }
  }
}

/** Who has held a lock on a table of ours for longest. */
async function holderOf(sql: postgres.Sql): Promise<string> {
  const [holder] = await sql`
    select a.pid, usename as name, coalesce(state, 'at work') as state
    from pg_stat_activity a
    where datname = current_database() and pid <> pg_backend_pid() and exists (
      select from pg_locks l join pg_class c on c.oid = l.relation
      where l.pid = a.pid and granted and database = (select oid from pg_database where datname = current_database())
        and c.relnamespace::regnamespace::text not in ('pg_catalog', 'information_schema'))
    order by xact_start limit 1`
  if (!holder) return 'another session held a lock that is needed'
  const { pid, name, state } = holder
  return `process ${pid} of ${name} (${state}) holds a lock that is needed; its end, or select pg_terminate_backend(${pid}), frees it`
}

/** The logins of readers that operators made. */
async function calmReaders(sql: postgres.Sql, say: (line: string) => void): Promise<void> {
  const results = await sql.unsafe(readFileSync(join(folder, 'logins.sql'), 'utf8')).simple()
  const [{ database }] = (await sql`select quote_ident(current_database()) as database`) as unknown as [
    { database: string },
  ]
  for (const { name } of (results as unknown as { name: string }[][]).at(-1)!)
    say(
      `  ${name} compiles its statements, which makes reports slow; as its owner: alter role "${name}" in database ${database} set jit = off`,
    )
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
  await sql`select set_config('lock_timeout', ${String(LOCK_MS_MAX)}, true)`
  await becomeOwner(sql)
  await sql`create table if not exists schema_migrations (
    name text primary key, checksum text not null, applied_at timestamptz not null default clock_timestamp())`
  const applied = await sql<{ name: string; checksum: string }[]>`select name, checksum from schema_migrations`
  const checksums = new Map(applied.map((row) => [row.name, row.checksum]))
  refuseNewer(migrations, checksums)
  const missing = missingOf(migrations, checksums)
  const tables_change = missing.length > 0
  if (checksums.get(functions.name) !== functions.checksum) missing.push(functions)
  // A view holds the columns that it shows: views are gone while tables change, and are made anew afterwards.
  if (tables_change) await sql`drop schema if exists read cascade`
  for (const each of missing) await apply(sql, each)
  if (tables_change && !missing.includes(functions)) await apply(sql, functions)
  return missing.map(({ name }) => name)
}

/** What a superuser migrates stays the owner's; nobody else may. */
async function becomeOwner(sql: postgres.TransactionSql): Promise<void> {
  const [tables] = await sql`
    select relowner::regrole::text as owner, pg_has_role(relowner, 'usage') as is_mine,
      relowner = current_user::regrole or exists (select from pg_namespace where nspname = 'api' and nspowner <> relowner) as stays
    from pg_class where oid = to_regclass('schema_migrations')`
  if (!tables) return
  if (!tables.is_mine) throw new Error(`the tables of this database belong to ${tables.owner}: migrate as that user`)
  if (!tables.stays) await sql.unsafe(`set local role ${tables.owner}`)
}

/** What this code does not know was made by a later version, whose functions this one would replace by its own. */
function refuseNewer(migrations: Migration[], applied: Map<string, string>): void {
  const known = new Set(migrations.map(({ name }) => name))
  const newer = [...applied.keys()].filter((name) => /^\d/.test(name) && !known.has(name)).sort()
  if (newer.length > 0)
    throw new Error(
      `this database is newer: it has ${newer.join(', ')}, which this version does not know. Migrate with the version that made it; the gateway of the version before runs on it as it is`,
    )
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
