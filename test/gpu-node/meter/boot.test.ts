import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { keptNodeKey } from '../../../gpu-node/identity.ts'
import { countBoot } from '../../../gpu-node/meter/boot.ts'
import { temporaryFolder } from '../../support/fake-node.ts'

test('the processes of a folder are counted, and each has a name of its own', () => {
  const folder = temporaryFolder()
  const [first, second] = [countBoot(folder), countBoot(folder)]
  expect(second).toMatchObject({ folder_id: first.folder_id, number: first.number + 1 })
  expect(second.id).not.toBe(first.id)
  expect(countBoot(temporaryFolder()).folder_id).not.toBe(first.folder_id)
})

test.each(['', '{', '{"folder_id": "x", "number": 1}', '{"number": -1}'])('a folder with %j is a new one', (text) => {
  const folder = temporaryFolder()
  writeFileSync(join(folder, 'boot.json'), text)
  expect(countBoot(folder).number).toBe(1)
  expect(countBoot(folder).number).toBe(2)
})

test('a folder keeps the key that was made in it, for its user alone', () => {
  const folder = temporaryFolder()
  const key = keptNodeKey(folder)
  expect(key).toMatch(/^[A-Za-z0-9_-]{43}$/)
  expect(keptNodeKey(folder)).toBe(key)
  expect(keptNodeKey(temporaryFolder())).not.toBe(key)
  expect(statSync(join(folder, 'node-key')).mode & 0o777).toBe(0o600)
  expect(readFileSync(join(folder, 'node-key'), 'utf8')).toBe(key)
})
