// Connections to the database that a URL names, plain or over TLS as the URL says (`sslmode`, `sslrootcert`, with libpq's meaning). One
// place makes them, for what connects from Node and for what workerd sends through the tunnel.

import { X509Certificate } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { connect as connectPlain, isIP, type Socket } from 'node:net'
import { type ConnectionOptions, checkServerIdentity, connect as connectTls, type TLSSocket } from 'node:tls'
import postgres from 'postgres'
import { type Database, readDatabaseUrl } from './database-url.mjs'

type Options = postgres.Options<Record<string, never>>

/** A client of it, for a statement at a time. */
export function openDatabase(database_url: string, options: Options = {}): postgres.Sql {
  const { url, ...rest } = clientOf(database_url)
  return postgres(url, { max: 1, prepare: false, fetch_types: false, ...rest, ...options })
}

/** What a client of postgres.js is made with, so that it connects as the URL says. */
export function clientOf(database_url: string): { url: string } & Options {
  const database = readDatabaseUrl(database_url)
  const { url, sslmode } = database
  return sslmode === 'disable' ? { url, ssl: false } : { url, ssl: false, ...throughSocket(() => openSocket(database)) }
}

/** postgres.js takes a function that makes the socket; its types do not have it. */
function throughSocket(socket: () => Promise<Socket>): Options {
  return { socket } as Options
}

const CONNECT_MS_MAX = 10_000

/** A socket on which the protocol begins: encrypted where the URL wants it, and the server's certificate checked. */
export async function openSocket(database: Database): Promise<Socket> {
  const { sslmode, host, port } = database
  const tls_options = sslmode === 'disable' ? null : tlsOptions(database)
  const socket = await connected(connectPlain({ host, port, noDelay: true }), 'connect', `${host}:${port}`)
  if (!tls_options) return socket
  const answer = await askForTls(socket)
  if (answer === 'S') return secured(socket, tls_options)
  if (answer === 'N' && sslmode === 'prefer') return socket.resume()
  socket.destroy()
  throw new Error(
    answer === 'N'
      ? `the server at ${host}:${port} does not offer TLS, which sslmode=${sslmode} wants`
      : `what listens at ${host}:${port} is no Postgres`,
  )
}

/** Whether connections to it are encrypted: `prefer` leaves it to the server. */
export async function isEncrypted(database: Database): Promise<boolean> {
  if (database.sslmode === 'disable') return false
  const socket = await openSocket(database)
  socket.destroy()
  return 'encrypted' in socket
}

const SSL_REQUEST = Buffer.from([0, 0, 0, 8, 4, 210, 22, 47])

/** One byte and nothing behind it: more would have been slipped in by somebody on the way, before there is TLS. */
async function askForTls(socket: Socket): Promise<string> {
  socket.write(SSL_REQUEST)
  const answer = await inTime<Buffer>(socket, (done) => socket.once('data', done))
  socket.pause()
  return answer.toString('latin1')
}

async function secured(socket: Socket, options: ConnectionOptions): Promise<TLSSocket> {
  const tls = connectTls({ socket, ...options })
  try {
    return await connected(tls, 'secureConnect', `${options.host}`)
  } catch (error) {
    socket.destroy()
    const { message, code } = error as { message: string; code?: string }
    throw Object.assign(new Error(`TLS to the database: ${message}`), { code })
  }
}

function tlsOptions({ host, sslmode, ca_file }: Database): ConnectionOptions {
  const verifies = sslmode.startsWith('verify')
  return {
    host,
    ...(isIP(host) === 0 && { servername: host }),
    ...(ca_file && { ca: authorities(ca_file) }),
    rejectUnauthorized: verifies,
    checkServerIdentity: sslmode === 'verify-full' ? checkServerIdentity : () => undefined,
  }
}

/** Node takes a file without certificates for one that trusts nobody, and says nothing. */
function authorities(file: string): string {
  if (!existsSync(file)) throw new Error(`sslrootcert: there is no file ${file}`)
  const text = readFileSync(file, 'utf8')
  try {
    new X509Certificate(text)
    return text
  } catch {
    throw new Error(`sslrootcert: ${file} holds no certificate`)
  }
}

async function connected<S extends Socket>(socket: S, event: string, where: string): Promise<S> {
  await inTime<void>(socket, (done) => socket.once(event, done), `${where} does not answer`)
  return socket
}

/** What `wait` hears of; the socket's error or end instead, where that comes first or nothing comes in time. */
function inTime<T>(
  socket: Socket,
  wait: (done: (value: T) => void) => void,
  late = 'the database does not answer',
): Promise<T> {
  const { promise, resolve, reject } = Promise.withResolvers<T>()
  const failed = (error: Error & { errors?: Error[] }) => reject(error.errors?.[0] ?? error) // of a name with several addresses
  const ended = () => reject(new Error('the database ended the connection'))
  const timer = setTimeout(() => socket.destroy(new Error(`${late} within ${CONNECT_MS_MAX / 1000} s`)), CONNECT_MS_MAX)
  socket.once('error', failed).once('close', ended)
  wait(resolve)
  return promise.finally(() => {
    clearTimeout(timer)
    socket.off('error', failed).off('close', ended)
  })
}

/** What to do about an error of the database, where it does not say so itself. */
export function adviceOn({ message, code }: { message: string; code?: string }): string {
  if (/no pg_hba.conf entry.*no encryption/.test(message))
    return ' (this server wants TLS: add ?sslmode=require to the URL, or verify-full with sslrootcert=FILE)'
  if (/SELF_SIGNED|UNABLE_TO_(GET|VERIFY)|UNTRUSTED/.test(code ?? ''))
    return ' (sslrootcert=FILE names the CA that signed the certificate)'
  if (code === '42501') return ' (as the owner of the database it would be allowed)'
  return ''
}
