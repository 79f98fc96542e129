// The first file of every npm script: plain JavaScript, because a fresh clone has no dependencies yet and may run
// an older Node. It installs what is missing, builds the native addon, and goes on in Node 24 (the npm package `node`).

import { spawn } from 'node:child_process'
import { existsSync, mkdirSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { addonIsCurrent, buildAddon } from './bootstrap/build.mjs'
import { dependenciesAreCurrent, installDependencies, missingPackage } from './bootstrap/install.mjs'
import { stage, unchanged } from './bootstrap/stage.mjs'
import { tiedCommand } from './dies-with-parent.mjs'
import { waitForLock } from './folder-lock.mjs'
import { exitCodeOf } from './signals.mjs'
import { readStartOptions } from './start-options.mjs'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const local = join(root, '.local')
const node24 = join(root, 'node_modules', '.bin', 'node')

const entries = {
  start: ['local/start.ts'],
  test: ['node_modules/vitest/vitest.mjs', 'run'],
  'test:all': ['node_modules/vitest/vitest.mjs', 'run'],
  'test:ground': ['node_modules/vitest/vitest.mjs', 'run', '--config', 'test/ground/vitest.config.ts'],
  'test:abuse': ['node_modules/vitest/vitest.mjs', 'run', '--config', 'test/abuse/vitest.config.ts'],
  'test:clients': ['node_modules/vitest/vitest.mjs', 'run', '--config', 'test/clients/vitest.config.ts'],
  eval: ['eval/main.ts'],
  instruct: ['instruct/main.ts'],
  admin: ['local/admin.ts'],
  migrate: ['local/migrate-database.ts'],
  catalog: ['local/publish-catalog.ts'],
  soak: ['test/soak.ts'],
  package: ['local/package.ts'],
}
const without_addon = ['admin', 'migrate', 'catalog', 'soak']

const [entry, ...rest] = process.argv.slice(2)
const target = entry.startsWith('test') ? 'all' : 'ziya'
if (entry === 'test:all') process.env.DRAWS ??= 'all' // of the random tests, which otherwise draw a few cases each
if (entry === 'start') answerAtOnce(readStartOptions(rest))
process.chdir(root)
endWithNpm()
keepCompiledSources()
if (!existsSync('.packaged')) await prepare() // a package brings everything along
runInNode24([...entries[entry], ...rest])

/** --help and a wrong option need no installation. */
function answerAtOnce({ answer, exit_code }) {
  if (answer === undefined) return
  ;(exit_code === 0 ? console.log : console.error)(answer)
  process.exit(exit_code)
}

// npm passes signals on, but not its own death.
function endWithNpm() {
  const parent = process.ppid
  if (!process.env.npm_lifecycle_event || parent === 1) return
  const watch = setInterval(() => {
    if (process.ppid === parent) return
    clearInterval(watch)
    process.kill(process.pid, 'SIGTERM')
  }, 500).unref()
}

/** Every Node that is started from here on finds its sources compiled: a third of the time of a short command. */
function keepCompiledSources() {
  try {
    mkdirSync(local, { recursive: true })
    process.env.NODE_COMPILE_CACHE ??= join(local, 'compile-cache')
  } catch {
    // A checkout that can only be read starts a little slower; what has to write says so itself.
  }
}

/** Installs and builds what is out of date; one process at a time in this folder. */
async function prepare() {
  const needs_addon = !without_addon.includes(entry)
  const isReady = () => existsSync(node24) && dependenciesAreCurrent()
  const isBuilt = () => !needs_addon || addonIsCurrent(target)
  if (isReady() && isBuilt()) return reportUnchanged(needs_addon)
  const lock = await waitForLock('build', root, () =>
    console.log('  another npm command installs or builds in this folder; waiting for its end …'),
  )
  if (isReady()) reportUnchanged(false)
  else await stage('dependencies', (progress) => installDependencies(lock, progress))
  if (needs_addon) await stage('native addon', (progress) => buildAddon(lock, target, progress))
  lock.close()
}

function reportUnchanged(with_addon) {
  const missing = missingPackage()
  if (missing) {
    console.error(`✗ dependencies: ${missing} is missing; remove node_modules and start again`)
    process.exit(1)
  }
  if (entry === 'admin') return // its output may be read by a program
  unchanged('dependencies')
  if (with_addon) unchanged('native addon')
}

/** Stays in this process where it is Node 24 already; otherwise a child takes over and gets every signal. */
async function runInNode24([file, ...args]) {
  if (Number(process.versions.node.split('.')[0]) >= 24 && !file.includes('vitest')) {
    process.argv = [process.argv[0], join(root, file), ...args]
    await import(createRequire(import.meta.url).resolve(join(root, file)))
    return
  }
  const path = `${join(root, 'node_modules', '.bin')}:${process.env.PATH}`
  const [command, ...flags] = tiedCommand('SIGTERM', [node24, file, ...args])
  const child = spawn(command, flags, { stdio: 'inherit', env: { ...process.env, PATH: path } })
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal))
  child.on('exit', (code, signal) => process.exit(code ?? exitCodeOf(signal)))
}
