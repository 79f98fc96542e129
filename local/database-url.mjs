// The URL of a Postgres as people write it, read in one place: what is wrong with it, or cannot be used, is said by name before anything
// is tried. Plain JavaScript, so that `npm start` answers a wrong one before anything is installed.

import { userInfo } from 'node:os'
import { resolve } from 'node:path'

export const SSL_MODES = ['disable', 'prefer', 'require', 'verify-ca', 'verify-full']

// Those that change nothing of what is asked, or only in what name.
const PASSED_ON = ['application_name', 'connect_timeout']

/** @returns {import('./database-url.d.mts').Database} */
export function readDatabaseUrl(text) {
  const url = parsed(text)
  url.username ||= encodeURIComponent(process.env.PGUSER ?? userInfo().username)
  url.password ||= encodeURIComponent(process.env.PGPASSWORD ?? '')
  url.port ||= '5432'
  if (url.pathname.length < 2) url.pathname = `/${url.username}`
  const asked = takeParameters(url)
  const host = url.hostname.replace(/^\[|\]$/g, '')
  return { url: url.href, host, port: Number(url.port), ...tlsOf(asked, host) }
}

function parsed(text) {
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(text)?.[1]
  if (!scheme) throw new Error('the database must be a postgres:// URL')
  if (!/^postgres(ql)?$/i.test(scheme)) throw new Error(`the database must be a postgres:// URL, not ${scheme}://`)
  if (!URL.canParse(text))
    throw new Error('the URL of the database cannot be read: postgres://user:password@host:port/name')
  const url = new URL(text)
  if (url.hostname === '') throw new Error('the URL of the database names no host (a socket’s folder cannot be used)')
  return url
}

/** Takes out of the URL what Postgres itself is not told, and refuses what nobody here understands. */
function takeParameters(url) {
  const asked = {}
  for (const [name, value] of [...url.searchParams]) {
    if (PASSED_ON.includes(name)) continue
    asked[name] = value
    url.searchParams.delete(name)
  }
  const { sslmode, sslrootcert, channel_binding, sslnegotiation, ...unknown } = asked
  const [name] = Object.keys(unknown)
  if (name) throw new Error(`the URL of the database has a parameter that is not supported: ${name}`)
  if (channel_binding && !['disable', 'prefer'].includes(channel_binding))
    throw new Error(`channel_binding=${channel_binding} is not supported: leave it out, and give sslmode=verify-full`)
  if (sslnegotiation && sslnegotiation !== 'postgres')
    throw new Error(`sslnegotiation=${sslnegotiation} is not supported: leave it out`)
  return { sslmode, sslrootcert }
}

/** As libpq reads them: a CA that is named is checked by. What stays on this machine is not encrypted unless that is asked for. */
function tlsOf({ sslmode, sslrootcert }, host) {
  if (sslmode !== undefined && !SSL_MODES.includes(sslmode))
    throw new Error(`sslmode=${sslmode} is not supported: it may be ${SSL_MODES.join(', ')}`)
  if (sslrootcert === 'system' && !['verify-full', undefined].includes(sslmode))
    throw new Error('sslrootcert=system needs sslmode=verify-full')
  if (sslrootcert === 'system') return { sslmode: 'verify-full', ca_file: null }
  if (sslrootcert === '') throw new Error('sslrootcert names no file')
  if (sslrootcert && sslmode === 'disable') throw new Error('sslrootcert has no use with sslmode=disable')
  const ca_file = sslrootcert ? resolve(process.env.INIT_CWD ?? '.', sslrootcert) : null
  const mode = sslmode ?? (isThisMachine(host) ? 'disable' : 'prefer')
  return { sslmode: ca_file && ['disable', 'prefer', 'require'].includes(mode) ? 'verify-ca' : mode, ca_file }
}

function isThisMachine(host) {
  return host === 'localhost' || host === '::1' || /^127\./.test(host)
}
