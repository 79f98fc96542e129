// A workerd process: started from a configuration, asked for its ports, and never left behind.

import type { ChildProcess } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { rootCertificates } from 'node:tls'
import { orAborted } from './aborted.ts'
import { type Exit, exitOf, hasEnded, signalGroup, spawnTied } from './children.ts'

export interface Workerd {
  pid: number
  /** By the name of the socket in the configuration. */
  ports: Record<string, number>
  exited: Promise<Exit>
  stop(): Promise<void>
}

// Required, because what `default` means for this CommonJS module depends on who imports it. It is the binary's path.
const workerd: string = createRequire(import.meta.url)('workerd').default

/** Serves `workerd.capnp` among the files, which may embed the others. Its sockets may ask for port 0. */
export async function serveWorkerd(
  files: Record<string, string>,
  { sockets, log, signal }: { sockets: string[]; log: (line: string) => void; signal?: AbortSignal | undefined },
): Promise<Workerd> {
  const folder = mkdtempSync(join(tmpdir(), 'ziya-workerd-'))
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text, { mode: 0o600 })
  const server = launch(folder, log)
  const ports = await orAborted(listening(server, sockets), signal)
    .catch(async (error) => {
      await stop(server)
      throw error
    })
    .finally(() => rmSync(folder, { recursive: true, force: true }))
  return { pid: server.pid!, ports, exited: exitOf(server), stop: () => stop(server) }
}

function launch(folder: string, log: (line: string) => void): ChildProcess {
  const server = spawnTied([workerd, 'serve', '--experimental', '--control-fd=3', join(folder, 'workerd.capnp')], {
    env: { ...process.env, ...certificates(folder) },
    when_orphaned: 'SIGKILL',
    at_once: 'SIGKILL',
    stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
  })
  for (const stream of [server.stdout!, server.stderr!]) createInterface(stream).on('line', log)
  return server
}

/** Where the machine has no certificates of its own, as a slim image has not, those that Node brings along: without any workerd ends. */
function certificates(folder: string): { SSL_CERT_FILE?: string } {
  const { SSL_CERT_FILE = '/etc/ssl/cert.pem', SSL_CERT_DIR = '/etc/ssl/certs' } = process.env
  if (existsSync(SSL_CERT_FILE) || (existsSync(SSL_CERT_DIR) && readdirSync(SSL_CERT_DIR).length > 0)) return {}
  const file = join(folder, 'certificates.pem')
  writeFileSync(file, rootCertificates.join('\n'))
  return { SSL_CERT_FILE: file }
}

function listening(server: ChildProcess, sockets: string[]): Promise<Record<string, number>> {
  const ports: Record<string, number> = {}
  return new Promise((done, fail) => {
    server.once('exit', (code) => fail(new Error(`workerd ended with code ${code} before it listened`)))
    server.once('error', fail)
    createInterface(server.stdio[3] as Readable).on('line', (line) => {
      const { event, socket, port } = JSON.parse(line)
      if (event === 'listen') ports[socket] = port
      if (sockets.every((name) => name in ports)) done(ports)
    })
  })
}

async function stop(server: ChildProcess): Promise<void> {
  if (hasEnded(server)) return
  signalGroup(server, 'SIGKILL') // it keeps nothing that a gentler end would save
  await exitOf(server)
}
