import { expect, test } from 'vitest'
import { createKey, isWellFormed, storedForm } from '../../../gateway/auth/key.ts'

test('a new key is well formed, and no two are alike', () => {
  const keys = Array.from({ length: 500 }, createKey)
  expect(keys.every(isWellFormed)).toBe(true)
  expect(keys.every((key) => /^zc_live_[0-9A-Za-z]{36}$/.test(key))).toBe(true)
  expect(new Set(keys).size).toBe(500)
})

test('a key with any one character changed, or two neighbours swapped, is malformed', () => {
  const key = createKey()
  for (let i = 0; i < key.length; i += 1) {
    const other = key[i] === 'x' ? 'y' : 'x'
    expect(isWellFormed(key.slice(0, i) + other + key.slice(i + 1)), `character ${i}`).toBe(false)
    const swapped = key.slice(0, i) + (key[i + 1] ?? '') + key[i] + key.slice(i + 2)
    if (swapped !== key) expect(isWellFormed(swapped), `swap at ${i}`).toBe(false)
  }
})

test('the checksum is CRC-32 in base62, as the format says', () => {
  // In Python: hex(zlib.crc32(b'zc_live_' + b'0' * 30))
  const body = `zc_live_${'0'.repeat(30)}`
  expect(isWellFormed(body + toBase62(CRC_OF_ZEROS))).toBe(true)
})

test('at rest there is the hash, the beginning and the last four characters', async () => {
  const key = createKey()
  const stored = await storedForm(key)
  expect(stored.hash).toMatch(/^[0-9a-f]{64}$/)
  expect(stored).toMatchObject({ prefix: key.slice(0, 12), last_four: key.slice(-4) })
  expect(JSON.stringify(stored)).not.toContain(key.slice(12, -4))
})

const CRC_OF_ZEROS = 0x8d8abe6d

function toBase62(value: number): string {
  const alphabet = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
  let text = ''
  for (let rest = value; text.length < 6; rest = Math.floor(rest / 62)) text = alphabet[rest % 62] + text
  return text
}
