// Parts of files that are read piece after piece, from a bucket that counts.

import { randomUUID } from 'node:crypto'
import { expect, test } from 'vitest'
import type { Env } from '../../../gateway/env.ts'
import { type Kept, partsOf } from '../../../gateway/files/content.ts'
import { putPart } from '../../../gateway/files/part.ts'

function setUp() {
  const objects = new Map<string, Uint8Array<ArrayBuffer>>()
  const read: string[] = []
  const FILES = {
    put: async (key: string, bytes: Uint8Array<ArrayBuffer>) => void objects.set(key, bytes),
    get: async (key: string) => {
      read.push(key)
      const bytes = objects.get(key)
      return bytes ? { arrayBuffer: async () => bytes.slice().buffer } : null
    },
  }
  const env = { ADMIN_KEY: 'admin-key-of-the-tests', FILES } as unknown as Env
  const put = async (account_id: string, text: string) => {
    const name = { account_id, id: randomUUID() }
    await putPart(env, name, new TextEncoder().encode(text))
    return name
  }
  return { env, read, put }
}

const textOf = (bytes: Uint8Array) => new TextDecoder().decode(bytes)

test('a part that is asked for again is read once, also by the next step', async () => {
  const { env, read, put } = setUp()
  const [first, second] = [await put('1', 'first'), await put('1', 'second')]
  const kept: Kept = { last: null }
  for (let step = 0; step < 3; step++)
    for (let piece = 0; piece < 3; piece++) expect(textOf(await partsOf(env, kept)(first))).toBe('first')
  expect(read).toHaveLength(1)
  expect(textOf(await partsOf(env, kept)(second))).toBe('second')
  expect(textOf(await partsOf(env, kept)(first))).toBe('first')
  expect(read).toHaveLength(3)
})

test('what is kept of one account is not given to another that names it', async () => {
  const { env, put } = setUp()
  const own = await put('1', 'mine')
  const kept: Kept = { last: null }
  await partsOf(env, kept)(own)
  await expect(partsOf(env, kept)({ ...own, account_id: '2' })).rejects.toThrow('cannot be opened')
})
