// The logins of the gateway and of the reader, which have fewer rights than the owner of the tables.

import postgres from 'postgres'
import { expect, vi } from 'vitest'
import { migrate } from '../../local/migrate.ts'
import type { TestPostgres } from './postgres.ts'

/** Makes the login where there is none, and answers its URL; the owner's, where the owner may not make it. */
type LoginUrl = (sql: postgres.Sql, url: string) => Promise<string>

/** One connection, which `close` of the same test file ends. */
export function connect(url: string): postgres.Sql {
  return postgres(url, { max: 1, prepare: false, fetch_types: false, onnotice: () => {} })
}

export async function close(connection: postgres.Sql | undefined, db: TestPostgres | undefined): Promise<void> {
  await connection?.end({ timeout: 5 })
  await db?.stop()
}

export async function expectSameLogin(db: TestPostgres, loginUrl: LoginUrl, name: string): Promise<void> {
  const url = await loginUrl(db.sql, db.url)
  expect(await loginUrl(db.sql, db.url)).toBe(url)
  const connection = connect(url)
  const [who] = await connection`select current_user::text as name, usesuper from pg_user where usename = current_user`
  await connection.end({ timeout: 5 })
  expect(who).toEqual({ name, usesuper: false })
}

/** A migrated database whose owner may create no roles: the login is the owner's own. `use` is given a connection of it. */
export async function expectOwnersLogin(
  db: TestPostgres,
  loginUrl: LoginUrl,
  use: (sql: postgres.Sql) => Promise<void>,
): Promise<void> {
  vi.spyOn(console, 'error').mockImplementation(() => {})
  await db.sql`create role plain login password 'p'`
  await db.sql`create database plain owner plain`
  const url = Object.assign(new URL(db.url), { username: 'plain', password: 'p', pathname: '/plain' }).href
  await migrate(url)
  const sql = connect(url)
  expect(await loginUrl(sql, url)).toBe(url)
  await use(sql)
  await sql.end({ timeout: 5 })
}
