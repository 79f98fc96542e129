// Where the interpreters and compilers of this machine are, and what of the machine they have to read.

import { execFileSync } from 'node:child_process'
import { existsSync, realpathSync } from 'node:fs'

export interface Python {
  executable: string
  /** Its library, or all of the folder it is installed in. */
  library: string
  packages: string[]
}

const asks_itself =
  'import sys, sysconfig, site, json; p = sysconfig.get_paths(); ' +
  'print(json.dumps([sys.executable, sys.base_prefix, p["stdlib"], *site.getsitepackages()]))'

/** The first Python 3 that runs: the system's, which everybody may read, before one in somebody's home. */
export function findPython(): Python | null {
  for (const name of ['/usr/bin/python3', 'python3']) {
    const answer = answerOf(name, ['-I', '-c', asks_itself])
    if (!answer) continue
    const [executable, prefix, ...folders] = JSON.parse(answer) as string[]
    const packages = folders.slice(1).filter((folder) => existsSync(folder))
    return { executable: realpathSync(executable!), library: prefix === '/usr' ? folders[0]! : prefix!, packages }
  }
  return null
}

/** Paths to bind as they are, and the loader where programs look for it. */
export function systemLibraries(): [string, string][] {
  const folders = ['/lib', '/lib64', `/usr/lib/${multiarch()}`].filter((folder) => existsSync(folder))
  return folders.map((folder) =>
    folder === '/lib' ? [`/usr/lib/${multiarch()}`, `/lib/${multiarch()}`] : [realpathSync(folder), folder],
  )
}

const multiarch = () => (process.arch === 'arm64' ? 'aarch64-linux-gnu' : 'x86_64-linux-gnu')

function answerOf(command: string, args: string[]): string | null {
  try {
    return execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'], timeout: 20_000 })
  } catch {
    return null
  }
}

/** The programs and libraries of the system, for interpreters and compilers whose parts lie all over it, and `more`. */
export function machineReads(more: [string, string][]): [string, string][] {
  const links = ['/bin', '/lib', '/lib64', '/etc/alternatives', '/etc/java-17-openjdk'].filter((path) =>
    existsSync(path),
  )
  const own = more.filter(([path]) => !path.startsWith('/usr/'))
  return [['/usr', '/usr'], ...links.map((path): [string, string] => [realpathSync(path), path]), ...own]
}

export type CompiledLanguage = 'cpp' | 'java' | 'go' | 'rust'

/** What a compiled language reads beside /usr, or null where its compiler is not here. */
export function findToolchain(language: CompiledLanguage): [string, string][] | null {
  if (language === 'cpp') return existsSync('/usr/bin/g++') ? [] : null
  if (language === 'java') return existsSync('/usr/bin/javac') ? [] : null
  if (language === 'go') return existsSync('/usr/bin/go') || existsSync('/usr/local/go/bin/go') ? [] : null
  if (existsSync('/usr/bin/rustc')) return []
  const root = answerOf('rustc', ['--print', 'sysroot'])?.trim()
  return root ? [[root, '/toolchain']] : null
}
