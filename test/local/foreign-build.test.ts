import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'

// Plain JavaScript without types, because a fresh clone runs it before anything is installed.
const file = join(import.meta.dirname, '../../local/bootstrap/foreign-build.mjs')
const { removeForeignBuild } = (await import(file)) as {
  removeForeignBuild: (build: string, source: string) => boolean
}

/** A checkout that CMake was configured in, or says it was, with one object built. */
function checkout(configured_in?: string) {
  const root = mkdtempSync(join(tmpdir(), 'ziya-build-'))
  onTestFinished(() => rmSync(root, { recursive: true, force: true }))
  const build = join(root, 'native/build')
  mkdirSync(build, { recursive: true })
  const cache = `# This is the CMakeCache file.\nCMAKE_HOME_DIRECTORY:INTERNAL=${configured_in ?? join(root, 'native')}\n`
  writeFileSync(join(build, 'CMakeCache.txt'), cache)
  writeFileSync(join(build, 'ziya.node'), '')
  return { root, source: join(root, 'native'), build, object: join(build, 'ziya.node') }
}

test('the build of this checkout is kept', () => {
  const { source, build, object } = checkout()
  expect(removeForeignBuild(build, source)).toBe(false)
  expect(existsSync(object)).toBe(true)
})

test('that of a checkout that was moved is made anew', () => {
  const { root } = checkout()
  const moved = `${root}-moved`
  onTestFinished(() => rmSync(moved, { recursive: true, force: true }))
  renameSync(root, moved)
  expect(removeForeignBuild(join(moved, 'native/build'), join(moved, 'native'))).toBe(true)
  expect(existsSync(join(moved, 'native/build'))).toBe(false)
  expect(existsSync(join(moved, 'native'))).toBe(true)
})

test('so is that of a copy, though the folder it was built in is still there', () => {
  const other = checkout()
  const { source, build } = checkout(other.source)
  expect(removeForeignBuild(build, source)).toBe(true)
  expect(existsSync(other.object)).toBe(true)
})

test('another way to the same folder is the same folder', () => {
  const { root, source, build } = checkout()
  const link = `${root}-link`
  onTestFinished(() => rmSync(link))
  symlinkSync(root, link)
  writeFileSync(join(build, 'CMakeCache.txt'), `CMAKE_HOME_DIRECTORY:INTERNAL=${join(link, 'native')}\n`)
  expect(removeForeignBuild(build, source)).toBe(false)
})

test('where nothing was built there is nothing to remove', () => {
  expect(removeForeignBuild(join(tmpdir(), 'no-such-build'), tmpdir())).toBe(false)
})
