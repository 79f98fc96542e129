// What the pages for visitors name is there: links, and every path of ours in backquotes.

import { existsSync, globSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { expect, test } from 'vitest'

const root = dirname(import.meta.dirname)
const pages = globSync('{*.md,docs/**/*.md,examples/*.md,test/data/*.md}', { cwd: root })
const text = (page: string) => readFileSync(join(root, page), 'utf8')

test('there are pages', () => {
  expect(pages.length).toBeGreaterThan(15)
})

test.each(pages)('the links of %s lead somewhere', (page) => {
  const links = [...text(page).matchAll(/\]\(([^)]+)\)/g)].map(([, to]) => to!).filter((to) => !/^https?:/.test(to))
  expect(links.filter((to) => !existsSync(join(root, dirname(page), to)))).toEqual([])
})

// The changelog tells of what was, too.
test.each(pages.filter((page) => page !== 'CHANGELOG.md'))('the paths that %s names are there', (page) => {
  const folders = globSync('*/', { cwd: root }).map((folder) => folder.replace(/\/$/, ''))
  const named = [...text(page).matchAll(/`(?:node |bash |python )?([\w./-]+\/[\w./-]*)(?: [^`]*)?`/g)].map(
    ([, path]) => path!,
  )
  const ours = named.filter((path) => folders.includes(path.split('/')[0]!) && path.split('/')[0] !== 'node_modules')
  expect(ours.filter((path) => !existsSync(join(root, path)))).toEqual([])
})
