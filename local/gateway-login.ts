// The logins of the gateway. One is a member of ziya_gateway, which may call the functions of the ledger and touch no table
// (migrations/rights.sql); the other of ziya_reader, which may select the views of the schema `read` (migrations/views). Roles belong to
// the whole server, so a login is named by its database: two installations on one server never change each other's. Its password
// follows from the owner's, so that every start on the same database makes the same ones.

import { createHash, createHmac } from 'node:crypto'
import type postgres from 'postgres'
import { readDatabaseUrl } from './database-url.mjs'

// A gateway has one connection for each lane of a teller, and for a moment another. Of a hundred that a server takes by default this leaves
// some to whoever migrates, backs up or looks.
const CONNECTIONS_MAX = 60

const MAY_NOT = new Set(['42501', '42704']) // no right to, or there is no role to be a member of

/** Makes sure of the login that calls functions, and returns the database's URL with it. */
export function gatewayUrl(sql: postgres.Sql, owner_url: string): Promise<string> {
  return urlOf(sql, owner_url, 'ziya_gateway')
}

/** The same of the login that reads views. */
export function readerUrl(sql: postgres.Sql, owner_url: string): Promise<string> {
  return urlOf(sql, owner_url, 'ziya_reader')
}

/** Of the database as its own server names it; two with names alike differ in the end. */
export function loginName(role: string, database: string): string {
  const like = database
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '_')
    .slice(0, 30)
  return `${role}_${like}_${createHash('sha256').update(database).digest('hex').slice(0, 8)}`
}

/** The owner's own URL where that user may create no roles. */
async function urlOf(sql: postgres.Sql, owner_url: string, role: string): Promise<string> {
  const url = new URL(owner_url)
  const owner = new URL(readDatabaseUrl(owner_url).url)
  const [{ database }] = (await sql`select current_database() as database`) as unknown as [{ database: string }]
  const name = loginName(role, database)
  const owners = decodeURIComponent(owner.password)
  const password = owners && createHmac('sha256', owners).update(name).digest('base64url')
  try {
    await makeLogin(sql, { name, role, password })
  } catch (error) {
    if (!MAY_NOT.has((error as { code?: string }).code ?? '')) throw error
    console.error(`✗ this database user may create no roles: ${name} is the owner of the tables instead`)
    return owner_url
  }
  return Object.assign(url, { username: name, password }).href
}

interface Login {
  name: string
  role: string
  password: string
}

// Reports are short where their statements are not compiled first; what a function of `api` runs has its own setting (rights.sql).
async function makeLogin(sql: postgres.Sql, { name, role, password }: Login): Promise<void> {
  await sql.unsafe(`do $$ begin
    perform pg_advisory_xact_lock(hashtext('${name}'));
    if not exists (select from pg_roles where rolname = '${name}') then
      create role ${name} in role ${role};
    end if;
    alter role ${name} login password '${password}' connection limit ${CONNECTIONS_MAX};
    execute format('alter role ${name} in database %I set jit = off', current_database());
  end $$`)
}
