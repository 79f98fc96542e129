// A workerd process: started from a configuration, asked for its ports, and never left behind.

import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { diesWithParent } from './dies-with-parent.ts'

export interface Workerd {
  pid: number
  /** By the name of the socket in the configuration. */
  ports: Record<string, number>
  stop(): Promise<void>
}

// Required, because what `default` means for this CommonJS module depends on who imports it. It is the binary's path.
const workerd: string = createRequire(import.meta.url)('workerd').default

/** Serves `workerd.capnp` among the files, which may embed the others. Its sockets may ask for port 0. */
export async function serveWorkerd(
  files: Record<string, string>,
  { sockets, log }: { sockets: string[]; log: (line: string) => void },
): Promise<Workerd> {
  const folder = mkdtempSync(join(tmpdir(), 'ziya-workerd-'))
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text, { mode: 0o600 })
  const server = launch(join(folder, 'workerd.capnp'), log)
  const ports = await listening(server, sockets).finally(() => rmSync(folder, { recursive: true, force: true }))
  return { pid: server.pid!, ports, stop: () => stop(server) }
}

function launch(config_file: string, log: (line: string) => void): ChildProcess {
  const serve = [workerd, 'serve', '--experimental', '--control-fd=3', config_file]
  const [command, ...args] = diesWithParent('SIGKILL', serve)
  // In a group of its own: Ctrl-C in a terminal reaches us, and we stop things in order.
  const server = spawn(command!, args, { stdio: ['ignore', 'pipe', 'pipe', 'pipe'], detached: true })
  for (const stream of [server.stdout!, server.stderr!]) createInterface(stream).on('line', log)
  return server
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

function stop(server: ChildProcess): Promise<void> {
  if (server.exitCode !== null || server.signalCode !== null) return Promise.resolve()
  return new Promise((done) => {
    server.once('exit', () => done())
    server.kill('SIGKILL') // it keeps nothing that a gentler end would save
  })
}
