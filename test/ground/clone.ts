// Clones of this working tree that cost little: the sources are copied, the packages are links to ours, and what takes long in a
// fresh clone has stand-ins that do the same slowly enough to be interrupted.

import { execFileSync } from 'node:child_process'
import { chmodSync, cpSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

export const root = dirname(dirname(import.meta.dirname))

export interface CloneOptions {
  dir: string
  /** A fresh clone has neither packages nor an addon. */
  is_fresh?: boolean
  /** Packages as files of the clone (hard links), for where our own folder cannot be reached. */
  own_packages?: boolean
}

export function makeClone({ dir, is_fresh = false, own_packages = false }: CloneOptions): string {
  mkdirSync(dir, { recursive: true })
  const listed = execFileSync('git', ['ls-files', '-co', '--exclude-standard'], { cwd: root, encoding: 'utf8' })
  const files = listed.split('\n').filter((file) => file !== '' && !file.startsWith('test/vectors'))
  for (const file of files) cpSync(join(root, file), join(dir, file), { force: true })
  if (is_fresh) return dir
  if (own_packages) execFileSync('cp', ['-al', join(root, 'node_modules'), join(dir, 'node_modules')])
  else install(dir)
  build(dir)
  return dir
}

function install(dir: string): void {
  execFileSync('sh', ['-c', INSTALL], { cwd: dir, env: { ...process.env, ZIYA_REAL: root, ZIYA_PAUSE: '0' } })
  runIn(dir, `import('./local/bootstrap/install.mjs').then((module) => module.writeStamp())`)
}

function build(dir: string): void {
  mkdirSync(join(dir, 'native/build'), { recursive: true })
  cpSync(join(root, 'native/build/ziya.node'), join(dir, 'native/build/ziya.node'))
  runIn(dir, `import('./local/bootstrap/build.mjs').then((module) => module.takeStamps('ziya')())`)
}

/** Stamps are written by the bootstrap's own code, so that they are what it expects. */
function runIn(dir: string, script: string): void {
  execFileSync(process.execPath, ['-e', script], { cwd: dir })
}

// npm's work, package by package.
const INSTALL = `echo "npm http fetch GET 200 https://registry.npmjs.org/zod 1ms"
mkdir -p node_modules
for entry in "$ZIYA_REAL"/node_modules/* "$ZIYA_REAL"/node_modules/.bin "$ZIYA_REAL"/node_modules/.package-lock.json; do
  [ -e "node_modules/$(basename "$entry")" ] || ln -s "$entry" node_modules/
  sleep $ZIYA_PAUSE
done
`

// CMake's work, step by step.
const BUILD = `case "$1" in
--version) echo cmake ;;
-S) mkdir -p native/build; echo "CMAKE_HOME_DIRECTORY:INTERNAL=$(pwd -P)/native" > native/build/CMakeCache.txt ;;
--build) for step in 1 2 3 4 5 6; do echo "[$step/6] compiling"; touch native/build/.step-$step; sleep 0.3; done
  cp "$ZIYA_REAL/native/build/ziya.node" native/build/ziya.node.new && mv native/build/ziya.node.new native/build/ziya.node ;;
esac
`

export type Npm = 'slow' | 'offline' | 'unanswered'

/** A folder for the front of PATH with an npm and a cmake that work slowly, or an npm that finds no registry, or one that says nothing. */
export function standIns(dir: string, npm: Npm = 'slow'): string {
  const offline = `echo 'npm error code ENOTFOUND' >&2; echo 'npm error network request to https://registry.npmjs.org/zod failed' >&2; exit 1\n`
  mkdirSync(dir, { recursive: true })
  const text_of_npm = { slow: INSTALL, offline, unanswered: 'sleep 600\n' }[npm]
  for (const [name, text] of Object.entries({ npm: text_of_npm, cmake: BUILD })) {
    writeFileSync(join(dir, name), `#!/bin/sh\n${text}`)
    chmodSync(join(dir, name), 0o755)
  }
  return dir
}

/** A folder for PATH with these programs alone. */
export function toolsOnly(dir: string, tools: string[]): string {
  mkdirSync(dir, { recursive: true })
  for (const tool of tools) {
    const found = tool === 'node' ? process.execPath : execFileSync('which', [tool], { encoding: 'utf8' }).trim()
    symlinkSync(found, join(dir, tool))
  }
  return dir
}
