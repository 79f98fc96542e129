// The logins of the gateway. One is a member of ziya_gateway, which may call the functions of the ledger and touch no table
// (migrations/rights.sql); the other of ziya_reader, which may select the views of the schema `read` (migrations/views). Their
// passwords follow from the owner's, so that every start on the same database makes the same ones.

import { createHmac } from 'node:crypto'
import type postgres from 'postgres'

interface Login {
  name: string
  role: string
}

// A gateway has one connection for each lane of a teller, and for a moment another. Of a hundred that a server takes by default this leaves
// some to whoever migrates, backs up or looks.
const CONNECTIONS_MAX = 60

const MAY_NOT = new Set(['42501', '42704']) // no right to, or there is no role to be a member of

/** Makes sure of the login that calls functions, and returns the database's URL with it. */
export function gatewayUrl(sql: postgres.Sql, owner_url: string): Promise<string> {
  return urlOf(sql, owner_url, { name: 'ziya_gateway_local', role: 'ziya_gateway' })
}

/** The same of the login that reads views. */
export function readerUrl(sql: postgres.Sql, owner_url: string): Promise<string> {
  return urlOf(sql, owner_url, { name: 'ziya_reader_local', role: 'ziya_reader' })
}

/** The owner's own URL where that user may create no roles. */
async function urlOf(sql: postgres.Sql, owner_url: string, { name, role }: Login): Promise<string> {
  const url = new URL(owner_url)
  const owners = decodeURIComponent(url.password)
  const password = owners && createHmac('sha256', owners).update(name).digest('base64url')
  try {
    await sql.unsafe(`do $$ begin
      perform pg_advisory_xact_lock(hashtext('${name}'));
      if not exists (select from pg_roles where rolname = '${name}') then
        create role ${name} in role ${role};
      end if;
      alter role ${name} login password '${password}' connection limit ${CONNECTIONS_MAX};
    end $$`)
  } catch (error) {
    if (!MAY_NOT.has((error as { code?: string }).code ?? '')) throw error
    console.error(`✗ this database user may create no roles: ${name} is the owner of the tables instead`)
    return owner_url
  }
  return Object.assign(url, { username: name, password }).href
}
