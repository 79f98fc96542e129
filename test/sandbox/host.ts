// What an attack could reach, and what is seen of it from outside.

import { spawn } from 'node:child_process'
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Host } from './attacks.ts'

export const secret = `secret-${crypto.randomUUID()}`

export async function openHost() {
  const folder = mkdtempSync(join(tmpdir(), 'attacked-'))
  chmodSync(folder, 0o777)
  const secret_file = join(folder, 'secret')
  writeFileSync(secret_file, secret, { mode: 0o644 })
  process.env.ATTACKED_SECRET = secret
  let connections = 0
  const server = createServer((socket) => {
    connections++
    socket.destroy()
  })
  await new Promise<void>((resolve) => server.listen(0, resolve))
  const victim = spawn('sleep', ['3600'], { stdio: 'ignore' })
  const { port } = server.address() as { port: number }
  const host: Host = { secret_file, folder, port, pid: victim.pid! }
  return {
    ...host,
    /** Everything that is not as it was. */
    effects: () => [
      ...(connections > 0 ? [`${connections} connections`] : []),
      ...readdirSync(folder).filter((name) => name !== 'secret'),
      ...(readFileSync(secret_file, 'utf8') === secret ? [] : ['the secret changed']),
      ...(victim.exitCode === null && victim.signalCode === null ? [] : ['a process of the host ended']),
    ],
    close: () => {
      delete process.env.ATTACKED_SECRET
      victim.kill('SIGKILL')
      server.close()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

/** Processes that this one started to judge, by their command lines; children of candidates keep those of their parents. */
export function confinedProcesses(): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => [pid, commandOf(pid)] as const)
    .filter(([pid, command]) => /\/judge\/(candidate|judge)\.py|pyodide-host/.test(command) && isOurs(pid))
    .map(([pid, command]) => `${pid} ${command}`)
}

function commandOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')
  } catch {
    return '' // it ended
  }
}

function isOurs(pid: string): boolean {
  for (let one = Number(pid); one > 1; one = parentOf(one)) if (one === process.pid) return true
  return parentOf(Number(pid)) === 1 // nobody's any more: ours or another's, it is left
}

function parentOf(pid: number): number {
  try {
    return Number(/^PPid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0)
  } catch {
    return 0
  }
}
