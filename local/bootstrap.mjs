// The first file of every npm script: plain JavaScript, because a fresh clone has no dependencies yet and may run
// an older Node. It installs what is missing, builds the native addon, and goes on in Node 24 (the npm package `node`).

import { spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { removeForeignBuild } from './native-build.mjs'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const local = join(root, '.local')
const node24 = join(root, 'node_modules', '.bin', 'node')

const entries = {
  start: ['local/start.ts'],
  test: ['node_modules/vitest/vitest.mjs', 'run'],
  'pass-at-1': ['bench/pass-at-1.ts'],
  admin: ['local/admin.ts'],
  soak: ['test/soak.ts'],
}

const [entry, ...rest] = process.argv.slice(2)
process.chdir(root)
mkdirSync(local, { recursive: true })
// Every Node that is started from here on finds its sources compiled: a third of the time of a short command.
process.env.NODE_COMPILE_CACHE ??= join(local, 'compile-cache')
stage('dependencies', dependenciesAreCurrent, installDependencies)
if (!['admin', 'soak'].includes(entry)) stage('native addon', () => false, buildAddon)
runInNode24([...entries[entry], ...rest])

/** Runs one stage, or says that nothing was to do; a failure ends the process with one clear line. */
function stage(name, isCurrent, run) {
  const started = performance.now()
  const current = isCurrent()
  const failure = current ? null : run()
  if (failure) {
    console.error(`✗ ${name}: ${failure}`)
    process.exit(1)
  }
  if (entry === 'admin' && current) return // its output may be read by a program
  console.log(
    `✓ ${name.padEnd(14)} ${((performance.now() - started) / 1000).toFixed(1).padStart(5)} s${current ? '  (unchanged)' : ''}`,
  )
}

function lockHash() {
  return createHash('sha256').update(readFileSync('package-lock.json')).digest('hex')
}

function dependenciesAreCurrent() {
  const stamp = join('node_modules', '.installed-lock')
  return existsSync(node24) && existsSync(stamp) && readFileSync(stamp, 'utf8') === lockHash()
}

function installDependencies() {
  console.log('  installing dependencies (npm install) …')
  // Not `npm ci`, which refuses a lock file without the optional binaries of other platforms; --no-save keeps the lock as it is.
  const args = ['install', '--no-save', '--no-audit', '--no-fund', '--loglevel=error']
  const { status } = spawnSync('npm', args, { stdio: 'inherit' })
  if (status !== 0) return 'npm install failed; its output is above'
  writeFileSync(join('node_modules', '.installed-lock'), lockHash())
  return null
}

/** CMake decides what is out of date, so this is quick when nothing changed. */
function buildAddon() {
  for (const tool of ['cmake', process.env.CXX ?? 'c++']) {
    if (spawnSync(tool, ['--version']).status !== 0)
      return `${tool} was not found; a C++20 compiler and CMake are needed`
  }
  if (removeForeignBuild('native/build', 'native'))
    console.log('  the checkout has another place than when it was built; building the native addon anew …')
  const configure = ['-S', 'native', '-B', 'native/build', '-DCMAKE_BUILD_TYPE=Release']
  if (!existsSync('native/build/CMakeCache.txt') && spawnSync('ninja', ['--version']).status === 0)
    configure.push('-G', 'Ninja')
  return (
    run('cmake', configure) ??
    run('cmake', ['--build', 'native/build', '--parallel', '2', '--target', entry === 'test' ? 'all' : 'ziya'])
  )
}

function run(command, args) {
  const { status, stdout, stderr } = spawnSync(command, args, { encoding: 'utf8', maxBuffer: 64 << 20 })
  if (status === 0) return null
  const log = join(local, 'native-build.log')
  writeFileSync(log, `${stdout}${stderr}`)
  const error = /^.*\berror\b.*$/im.exec(`${stdout}${stderr}`)?.[0]?.trim()
  return `${command} ${args[0] === '--build' ? 'build' : 'configuration'} failed (${log})${error ? `: ${error}` : ''}`
}

/** Stays in this process where it is Node 24 already; otherwise a child takes over and gets every signal. */
async function runInNode24([file, ...args]) {
  if (Number(process.versions.node.split('.')[0]) >= 24 && !file.includes('vitest')) {
    process.argv = [process.argv[0], join(root, file), ...args]
    await import(createRequire(import.meta.url).resolve(join(root, file)))
    return
  }
  const path = `${join(root, 'node_modules', '.bin')}:${process.env.PATH}`
  const child = spawn(node24, [file, ...args], { stdio: 'inherit', env: { ...process.env, PATH: path } })
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal))
  child.on('exit', (code, signal) => process.exit(code ?? (signal === 'SIGINT' ? 130 : 1)))
}
