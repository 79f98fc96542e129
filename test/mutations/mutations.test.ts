import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'

const mutations: { file: string; find: string; replace: string }[] = JSON.parse(
  readFileSync(join(import.meta.dirname, 'mutations.json'), 'utf8'),
)

test('there are at least thirty mutations of the money path, and each would change exactly one place', () => {
  const wrong = mutations.filter(({ file, find, replace }) => {
    const source = readFileSync(join(import.meta.dirname, '../..', file), 'utf8')
    return source.split(find).length !== 2 || find === replace
  })
  expect(wrong.map(({ file, find }) => `${file}: ${find}`)).toEqual([])
  expect(mutations.length).toBeGreaterThanOrEqual(30)
})
