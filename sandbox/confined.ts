// One process under bubblewrap: no network, no host files but what it is given to read, no environment, its own process tree, and
// limits of CPU time, memory, processes, file sizes and open files. Under root it runs as a user of its own, because the kernel
// counts the processes of a user and root's are not counted; otherwise in a user namespace, which has its own count.

import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import type { Limits } from './sandbox.ts'
import { seccompFilter } from './seccomp.ts'

export interface Confinement {
  command: string[]
  /** Host paths it may read, each as [path, path inside]. */
  reads: [string, string][]
  /** A host folder it may write, as /build. */
  writes?: string
  limits: Limits
  may_fork: boolean
  /** Runtimes that reserve more address space than they use are limited by the memory they can write. */
  reserves_memory?: boolean
  needs_proc?: boolean
  /** Descriptors from 3 on that are pipes to it. */
  pipes?: number
}

const user_first = 61_000
const users = 4_000
const scratch_bytes = 16 << 20
const file_bytes_max = 64 << 20
const open_files_max = 128
const processes_max = 64

let next_user = 0

export const isRoot = () => process.getuid?.() === 0

/** A user that no other confined process of this program has now, so that none can signal or count against another. */
export function freshUser(): number {
  next_user = (next_user + 1) % users
  return user_first + ((process.pid * 7 + next_user) % users)
}

export function startConfined(confinement: Confinement, user = freshUser()): ChildProcess {
  const pipes = confinement.pipes ?? 0
  const filter = filterFile(confinement.may_fork)
  const filter_fd = 3 + pipes
  const argv = [
    ...walls(confinement),
    ...(filter ? ['--seccomp', String(filter_fd)] : []),
    '--',
    ...(isRoot() ? asUser(user) : []),
    ...limited(confinement),
    ...confinement.command,
  ]
  const descriptor = filter ? openSync(filter, 'r') : null
  try {
    const stdio = [...Array(3 + pipes).fill('pipe'), ...(descriptor === null ? [] : [descriptor])]
    // bwrap gets no environment either: what it starts could read it in /proc.
    return spawn(bwrap(), argv, { stdio, env: {} })
  } finally {
    if (descriptor !== null) closeSync(descriptor)
  }
}

export const bwrap = () => process.env.BWRAP ?? '/usr/bin/bwrap'

function walls({ reads, writes, needs_proc }: Confinement): string[] {
  return [
    '--die-with-parent',
    '--new-session',
    '--clearenv',
    ...(isRoot() ? [] : ['--unshare-user']),
    ...['--unshare-pid', '--unshare-net', '--unshare-ipc', '--unshare-uts', '--unshare-cgroup-try'],
    ...['--hostname', 'sandbox', '--cap-drop', 'ALL'],
    ...(isRoot() ? ['CAP_SETUID', 'CAP_SETGID', 'CAP_SETPCAP'].flatMap((capability) => ['--cap-add', capability]) : []),
    ...foldersAbove(reads).flatMap((folder) => ['--perms', '0755', '--dir', folder]),
    ...reads.flatMap(([path, inside]) => ['--ro-bind', path, inside]),
    ...(writes ? ['--bind', writes, '/build'] : []),
    ...(needs_proc ? ['--proc', '/proc'] : []),
    ...['--dev', '/dev'],
    ...['--size', String(scratch_bytes), '--perms', '1777', '--tmpfs', '/tmp'],
    ...['--remount-ro', '/dev', '--remount-ro', '/', '--chdir', '/tmp'],
  ]
}

/** bwrap would make them for its own user alone. */
function foldersAbove(reads: [string, string][]): string[] {
  const above = (path: string): string[] => (dirname(path) === '/' ? [] : [...above(dirname(path)), dirname(path)])
  return [...new Set(reads.flatMap(([, inside]) => above(inside)))].sort((a, b) => a.length - b.length)
}

function asUser(user: number): string[] {
  const id = String(user)
  return [
    ...['/usr/bin/setpriv', '--reuid', id, '--regid', id, '--clear-groups'],
    ...['--inh-caps=-all', '--bounding-set=-all', '--no-new-privs'],
  ]
}

function limited({ limits, reserves_memory }: Confinement): string[] {
  return [
    '/usr/bin/prlimit',
    `--${reserves_memory ? 'data' : 'as'}=${limits.memory_bytes}`,
    `--cpu=${limits.cpu_s}`,
    `--nproc=${processes_max}`,
    `--fsize=${file_bytes_max}`,
    `--nofile=${open_files_max}`,
    '--core=0',
    '--stack=67108864',
    '--memlock=0',
    '--',
  ]
}

const filters = new Map<boolean, string | null>()
let filter_folder: string | null = null

function filterFile(may_fork: boolean): string | null {
  const known = filters.get(may_fork)
  if (known !== undefined) return known
  const bytes = seccompFilter({ may_fork })
  const file = bytes && join(filterFolder(), `${may_fork}.bpf`)
  if (file) writeFileSync(file, bytes)
  filters.set(may_fork, file)
  return file
}

function filterFolder(): string {
  if (filter_folder) return filter_folder
  const made = mkdtempSync(join(tmpdir(), 'sandbox-filter-'))
  process.on('exit', () => rmSync(made, { recursive: true, force: true }))
  filter_folder = made
  return made
}
