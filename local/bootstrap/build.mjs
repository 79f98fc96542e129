// The native addon. CMake decides what is out of date, but is only asked where a source, the folder or the choice of a compiler
// changed since the last whole build, so that a built clone starts without any compiler.

import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { runChild } from './child.mjs'
import { removeForeignBuild } from './foreign-build.mjs'

const build_folder = join('native', 'build')
const addon = join(build_folder, 'ziya.node')
const log = join('.local', 'native-build.log')

/** `all` also builds the test programs, which know the folder they were built in. */
export function addonIsCurrent(target) {
  if (!existsSync(addon) || !existsSync(stampOf(target))) return false
  const built = JSON.parse(readFileSync(stampOf(target), 'utf8'))
  // A toolkit that was installed since is one more reason to build; one that is gone is none.
  return built.key === keyOf(target) && (built.nvcc !== null || nvcc() === null)
}

export async function buildAddon(lock, target, progress) {
  const missing = await missingTool(lock)
  if (missing) return missing
  const writeStamps = takeStamps(target)
  if (removeForeignBuild(build_folder, 'native'))
    console.log('  the checkout has another place than when it was built; building the native addon anew …')
  const failure = (await configure(lock)) ?? (await compile(lock, target, progress))
  if (!failure) writeStamps()
  return failure
}

/** Removes the stamps; what is returned writes them, for the sources as they were when this was called. */
export function takeStamps(target) {
  const stamps = (target === 'all' ? ['all', 'ziya'] : [target]).map((name) => ({
    file: stampOf(name),
    text: JSON.stringify({ key: keyOf(name), nvcc: nvcc() }),
  }))
  for (const { file } of stamps) rmSync(file, { force: true })
  return () => {
    for (const { file, text } of stamps) writeFileSync(file, text)
  }
}

function stampOf(target) {
  return join(build_folder, `.built-${target}`)
}

function keyOf(target) {
  const hash = createHash('sha256').update(JSON.stringify([cuda(), process.env.CXX ?? '']))
  if (target === 'all') hash.update(process.cwd())
  for (const file of [...sourcesIn('native'), ...(target === 'all' ? sourcesIn('test/native') : [])])
    hash.update(`\0${file}\0`).update(readFileSync(file))
  return hash.digest('hex')
}

function sourcesIn(where) {
  return readdirSync(where, { withFileTypes: true })
    .filter(({ name }) => !name.startsWith('build') && !name.endsWith('.ts'))
    .flatMap((entry) => (entry.isDirectory() ? sourcesIn(join(where, entry.name)) : [join(where, entry.name)]))
    .sort()
}

function cuda() {
  return process.env.ZIYA_CUDA ?? 'auto'
}

function nvcc() {
  const folders = [...(process.env.PATH ?? '').split(':'), '/usr/local/cuda/bin']
  return folders.map((folder) => join(folder, 'nvcc')).find(existsSync) ?? null
}

async function missingTool(lock) {
  for (const tool of ['cmake', process.env.CXX ?? 'c++']) {
    if ((await runChild(tool, ['--version'], { lock })).status !== 0)
      return `${tool} was not found; a C++20 compiler and CMake are needed (Debian: apt install g++ cmake)`
  }
  return null
}

async function configure(lock) {
  const args = ['-S', 'native', '-B', build_folder, '-DCMAKE_BUILD_TYPE=Release', `-DZIYA_CUDA=${cuda()}`]
  const is_new = !existsSync(join(build_folder, 'CMakeCache.txt'))
  if (is_new && (await runChild('ninja', ['--version'], { lock })).status === 0) args.push('-G', 'Ninja')
  return reported('configuration', await runChild('cmake', args, { lock }))
}

async function compile(lock, target, progress) {
  const onLine = (line) => /^\[.+?\]/.test(line) && progress(`compiling ${/^\[.+?\]/.exec(line)[0]}`)
  const args = ['--build', build_folder, '--parallel', '2', '--target', target]
  return reported('build', await runChild('cmake', args, { lock, onLine }))
}

/** One line for what failed, and the whole output in a file; a warning of ours is passed on. */
function reported(step, { status, output }) {
  const warning = /CMake Warning[^\n]*\n\s*(ziya: [^\n]+(?:\n {2}[^\n]+)*)/.exec(output)?.[1]
  if (warning) console.log(`! native addon: ${warning.slice('ziya: '.length).replace(/\s+/g, ' ')}`)
  if (status === 0) return null
  mkdirSync('.local', { recursive: true })
  writeFileSync(log, output)
  const reason = /^.*(\berror\b|\bfatal\b|No space left).*$/im.exec(output)?.[0]?.trim()
  return `cmake ${step} failed (${log})${reason ? `: ${reason}` : ''}`
}
