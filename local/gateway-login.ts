// The gateway's own login: a member of ziya_gateway, which may call the functions of the ledger and touch no table (migrations/rights.sql).
// Its password follows from the owner's, so that every start on the same database makes the same one.

import { createHmac } from 'node:crypto'
import type postgres from 'postgres'

const LOGIN = 'ziya_gateway_local'
const MAY_NOT = new Set(['42501', '42704']) // no right to, or there is no role to be a member of

/** Makes sure of the login, and returns the database's URL with it; the owner's own where that user may create no roles. */
export async function gatewayUrl(sql: postgres.Sql, owner_url: string): Promise<string> {
  const url = new URL(owner_url)
  const owners = decodeURIComponent(url.password)
  const password = owners && createHmac('sha256', owners).update(LOGIN).digest('base64url')
  try {
    await sql.unsafe(`do $$ begin
      perform pg_advisory_xact_lock(hashtext('${LOGIN}'));
      if not exists (select from pg_roles where rolname = '${LOGIN}') then
        create role ${LOGIN} in role ziya_gateway;
      end if;
      alter role ${LOGIN} login password '${password}';
    end $$`)
  } catch (error) {
    if (!MAY_NOT.has((error as { code?: string }).code ?? '')) throw error
    console.error('✗ this database user may create no roles: the gateway logs in as the owner of the tables')
    return owner_url
  }
  return Object.assign(url, { username: LOGIN, password }).href
}
