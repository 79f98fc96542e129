// Breaks the kernels as kernel-mutations.ts says, one way after the other, and runs the tests in the emulator that must then
// fail: shows that they would notice.
// usage: node test/native/mutations.ts [PART OF 'kernel: from']; it builds copies under .local/mutations and takes some minutes.

import { spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Mutation, mutations } from './kernel-mutations.ts'

const root = join(import.meta.dirname, '../..')
const copy = join(root, '.local/mutations')
const build = join(copy, 'build')

function run(command: string, args: string[]) {
  return spawnSync(command, args, { encoding: 'utf8', timeout: 1_800_000, env: { ...process.env, DRAWS: 'all' } })
}

// Without nvcc: the emulator has the same sources. A file that is the same already stays as new as it is: what was built of its
// last mutation is older.
function prepare() {
  mkdirSync(copy, { recursive: true })
  for (const folder of ['native', 'test/native', 'bench/gpu', 'models'])
    cpSync(join(root, folder), join(copy, folder), {
      recursive: true,
      filter: (from, to) => !/native\/build|ziya-coding-mini\/train/.test(from) && !isSameFile(from, to),
    })
  try {
    symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'))
  } catch {} // it is there from the last run
  run('cmake', ['-S', join(copy, 'native'), '-B', build, '-G', 'Ninja', '-DCMAKE_BUILD_TYPE=Release', '-DNVCC=OFF'])
  if (!builds()) throw new Error('the unbroken copy does not build')
  for (const test of new Set(wanted.map(({ test }) => test)))
    if (!passes(test)) throw new Error(`the unbroken copy does not pass: ${test}`)
}

function isSameFile(from: string, to: string) {
  return statSync(from).isFile() && exists(to) && readFileSync(from).equals(readFileSync(to))
}

function builds() {
  return run('cmake', ['--build', build, '--parallel', '2', '--target', 'kernel-test']).status === 0
}

function passes(test: string) {
  const { stdout } = run(join(build, 'kernel-test'), ['--seed', '1', '--only', test])
  return /, 0 failed/.test(stdout) && !stdout.includes('\n0 passed')
}

// 'noticed', 'missed', or why nothing is known.
function outcome({ kernel, from, to, test }: Mutation) {
  const path = ['cu', 'cpp', 'h'].map((end) => join(copy, `native/kernels/cuda/${kernel}.${end}`)).find(exists)
  if (path === undefined) return 'no such kernel'
  const source = readFileSync(path, 'utf8')
  if (!source.includes(from)) return 'its text is no longer there'
  writeFileSync(path, source.replace(from, to))
  try {
    if (!builds()) return 'does not build'
    return passes(test) ? 'missed' : 'noticed'
  } finally {
    writeFileSync(path, source)
  }
}

function exists(path: string) {
  try {
    return readFileSync(path) !== undefined
  } catch {
    return false
  }
}

const wanted = mutations.filter(({ kernel, from }) => `${kernel}: ${from}`.includes(process.argv[2] ?? ''))
prepare()
const outcomes = wanted.map((mutation) => {
  const result = outcome(mutation)
  console.log(`${result}: ${mutation.kernel}: ${mutation.from} -> ${mutation.to}`)
  return result
})
const noticed = outcomes.filter((result) => result === 'noticed').length
console.log(`${noticed} of ${wanted.length} noticed`)
process.exitCode = noticed === wanted.length ? 0 : 1
