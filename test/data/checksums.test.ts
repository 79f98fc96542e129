// The data that others made is what its README says it is, and all of it is named there.

import { createHash } from 'node:crypto'
import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'

const folder = import.meta.dirname
const readme = readFileSync(join(folder, 'README.md'), 'utf8')
const listed = [...readme.matchAll(/^\| `([^`]+)` \| `([0-9a-f]{64})` \|/gm)].map(([, file, sha256]) => ({
  file: file!,
  sha256: sha256!,
}))

test.each(listed)('$file is unchanged', ({ file, sha256 }) => {
  const bytes = readFileSync(join(folder, file))
  expect(createHash('sha256').update(bytes).digest('hex')).toBe(sha256)
})

test('the README lists every file, and every folder has a licence', () => {
  const files = globSync('*/*', { cwd: folder }).filter((file) => !file.endsWith('/LICENSE'))
  expect(files.toSorted()).toEqual(listed.map(({ file }) => file).toSorted())
  const folders = globSync('*/', { cwd: folder }).map((name) => name.replace(/\/$/, ''))
  expect(globSync('*/LICENSE', { cwd: folder }).toSorted()).toEqual(folders.toSorted().map((name) => `${name}/LICENSE`))
})
