// The way to a database: what its URL may say, and TLS to a server that takes nothing else.

import { appendFileSync, chmodSync, chownSync, copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { adviceOn, openDatabase } from '../../local/database.ts'
import { readDatabaseUrl, SSL_MODES } from '../../local/database-url.mjs'
import { startGateway } from '../../local/gateway.ts'
import { migrate } from '../../local/migrate.ts'
import { type RunningPostgres, startPostgres } from '../../local/postgres.ts'
import { newCluster } from '../support/cluster.ts'
import { admin_key, bundledOnce, PATIENT } from '../support/gateway.ts'
import { TICKET_SEED } from '../support/keys.ts'

describe('a URL that cannot be used is refused by name', () => {
  test.each([
    ['mysql://u:p@h/db', 'not mysql://'],
    ['http://h/db', 'not http://'],
    ['localhost/db', 'must be a postgres:// URL'],
    ['', 'must be a postgres:// URL'],
    ['postgres://u:p@h:99999/db', 'cannot be read'],
    ['postgres://u:p@a,b/db?sslmode=sometimes', 'sslmode=sometimes'],
    ['postgres:///db', 'names no host'],
    ['postgres://h/db?sslmode=allow', 'sslmode=allow'],
    ['postgres://h/db?sslmode=', 'sslmode='],
    ['postgres://h/db?sslcert=/c', 'not supported: sslcert'],
    ['postgres://h/db?options=-csearch_path', 'not supported: options'],
    ['postgres://h/db?pgbouncer=true', 'not supported: pgbouncer'],
    ['postgres://h/db?channel_binding=require', 'channel_binding=require'],
    ['postgres://h/db?sslnegotiation=direct', 'sslnegotiation=direct'],
    ['postgres://h/db?sslrootcert=system&sslmode=require', 'needs sslmode=verify-full'],
    ['postgres://h/db?sslrootcert=/ca&sslmode=disable', 'no use with sslmode=disable'],
    ['postgres://h/db?sslrootcert=', 'names no file'],
  ])('%s', (url, why) => {
    expect(() => readDatabaseUrl(url)).toThrow(why)
  })
})

test.each([
  ['postgres://u:p@h/db', { host: 'h', port: 5432, sslmode: 'prefer', ca_file: null, url: 'postgres://u:p@h:5432/db' }],
  ['postgresql://u@127.0.0.1:1/db', { host: '127.0.0.1', port: 1, sslmode: 'disable' }],
  ['postgres://u:p@[::1]:2', { host: '::1', sslmode: 'disable', url: 'postgres://u:p@[::1]:2/u' }],
  ['postgres://u@h/db?sslmode=require&sslrootcert=/ca.crt', { sslmode: 'verify-ca', ca_file: '/ca.crt' }],
  ['postgres://u@h/db?sslrootcert=system', { sslmode: 'verify-full', ca_file: null }],
  [
    'postgres://u@h/db?channel_binding=prefer&application_name=x',
    { url: expect.stringMatching(/\?application_name=x$/) },
  ],
])('%s is read as libpq reads it', (url, read) => {
  expect(readDatabaseUrl(url)).toMatchObject(read)
})

describe('a server that takes TLS alone', () => {
  const vectors = join(import.meta.dirname, '../vectors/tls')
  const ca = (name: string) => `sslrootcert=${join(vectors, `${name}.crt`)}`
  let folder: string
  let server: RunningPostgres

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'ziya-tls-'))
    await newCluster(join(folder, 'data'))
    writeFileSync(join(folder, 'data/pg_hba.conf'), 'hostssl all all all scram-sha-256\n')
    for (const name of ['here.crt', 'here.key', 'elsewhere.crt', 'elsewhere.key']) own(name)
    appendFileSync(join(folder, 'data/postgresql.conf'), certificateOf('here'))
    server = await startPostgres({ data_dir: join(folder, 'data'), durable: false })
  })
  afterAll(async () => {
    await server?.stop()
    rmSync(folder, { recursive: true, force: true })
  })

  const certificateOf = (name: string) => `ssl = on\nssl_cert_file = '${name}.crt'\nssl_key_file = '${name}.key'\n`

  /** A key is the server's alone. */
  function own(name: string): void {
    const file = join(folder, 'data', name)
    copyFileSync(join(vectors, name), file)
    chmodSync(file, 0o600) // a clone gives it to everybody
    if (process.getuid?.() === 0) chownSync(file, 65534, 65534)
  }

  async function outcome(parameters: string, host = '127.0.0.1'): Promise<string> {
    const url = Object.assign(new URL(server.url), { hostname: host, search: parameters }).href
    const sql = openDatabase(url, { onnotice: () => {} })
    try {
      const [row] = await sql`select ssl from pg_stat_ssl where pid = pg_backend_pid()`
      return row!.ssl ? 'encrypted' : 'plain'
    } catch (error) {
      return (error as Error).message + adviceOn(error as Error)
    } finally {
      await sql.end({ timeout: 1 })
    }
  }

  test.each([
    ['', /no encryption.*add \?sslmode=require/],
    ['sslmode=disable', /no encryption/],
    ['sslmode=prefer', /^encrypted$/],
    ['sslmode=require', /^encrypted$/],
    ['sslmode=verify-ca', /TLS to the database: .*sslrootcert=FILE/],
    ['sslmode=verify-full', /TLS to the database: .*sslrootcert=FILE/],
    ['sslrootcert=system', /TLS to the database: /],
    [`sslmode=verify-ca&${ca('authority')}`, /^encrypted$/],
    [`sslmode=verify-full&${ca('authority')}`, /^encrypted$/],
    [`sslmode=require&${ca('authority')}`, /^encrypted$/],
    [`sslmode=verify-ca&${ca('stranger')}`, /TLS to the database: /],
    [`sslmode=verify-full&${ca('stranger')}`, /TLS to the database: /],
    ['sslmode=verify-full&sslrootcert=/not/there', /sslrootcert: there is no file \/not\/there/],
    [`sslmode=verify-full&sslrootcert=${join(vectors, 'here.key')}`, /holds no certificate/],
  ])('%s', async (parameters, wanted) => {
    expect(await outcome(parameters)).toMatch(wanted)
  })

  test('a gateway serves through it, all of it encrypted, and npm run migrate goes there', async () => {
    const database_url = `${server.url}?sslmode=verify-full&${ca('authority')}`
    expect(await migrate(database_url)).toEqual([])
    const worker = await bundledOnce()
    const secrets = { ticket_seeds: TICKET_SEED, admin_key }
    const gateway = await startGateway({ port: 0, database_url, worker, ...secrets, vars: PATIENT, log: () => {} })
    const headers = { authorization: `Bearer ${admin_key}`, 'content-type': 'application/json' }
    const made = await fetch(`${gateway.url}/admin/accounts`, { method: 'POST', headers, body: '{"name":"encrypted"}' })
    expect(made.status).toBe(201)
    expect((await fetch(`${gateway.url}/readyz`)).status).toBe(200)
    const sql = openDatabase(database_url)
    const plain =
      await sql`select usename from pg_stat_ssl join pg_stat_activity using (pid) where client_addr is not null and not ssl`
    const logins =
      await sql`select count(distinct usename)::int as count from pg_stat_activity where usename like 'ziya_%'`
    await sql.end()
    await gateway.stop()
    expect(plain).toEqual([])
    expect(logins).toEqual([{ count: 2 }])
  })

  test('a certificate for another host is good for verify-ca, and for verify-full is not', async () => {
    appendFileSync(join(folder, 'data/postgresql.conf'), certificateOf('elsewhere'))
    const sql = openDatabase(`${server.url}?sslmode=require`)
    await sql`select pg_reload_conf()`
    await sql.end()
    await expect.poll(() => outcome(`sslmode=verify-full&${ca('authority')}`)).toMatch(/altnames/)
    expect(await outcome(`sslmode=verify-ca&${ca('authority')}`)).toBe('encrypted')
  })

  test('where a server has no TLS, that is said, or it is done without by prefer', async () => {
    appendFileSync(join(folder, 'data/postgresql.conf'), 'ssl = off\n')
    writeFileSync(join(folder, 'data/pg_hba.conf'), 'host all all all scram-sha-256\n')
    const sql = openDatabase(`${server.url}?sslmode=require`)
    await sql`select pg_reload_conf()`
    await sql.end()
    for (const mode of SSL_MODES.filter((mode) => !['disable', 'prefer'].includes(mode)))
      await expect.poll(() => outcome(`sslmode=${mode}`)).toMatch(`does not offer TLS, which sslmode=${mode} wants`)
    expect([await outcome('sslmode=prefer'), await outcome('')]).toEqual(['plain', 'plain'])
  })
})
