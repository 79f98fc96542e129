import { expect, test } from 'vitest'
import { fromBase64, fromBase64Url, toBase64, toBase64Url, toHex } from '../../contract/base64url.ts'

const lengths = [0, 1, 2, 3, 255, 32_767, 32_768, 32_769, 100_000]
const bytesOf = (length: number) => Uint8Array.from({ length }, (_, i) => (i * 151 + 7) & 0xff)

test.each(lengths)('%d bytes are written as Node writes them, and read again', (length) => {
  const bytes = bytesOf(length)
  expect(toBase64Url(bytes)).toBe(Buffer.from(bytes).toString('base64url'))
  expect(toBase64(bytes)).toBe(Buffer.from(bytes).toString('base64'))
  expect(toHex(bytes)).toBe(Buffer.from(bytes).toString('hex'))
  expect(fromBase64Url(toBase64Url(bytes))).toEqual(bytes)
  expect(fromBase64(toBase64(bytes))).toEqual(bytes)
})

test.each(['a', 'aaaaa', 'a+b/', 'ab==', 'a b', 'é', 'a\n'])('%j is no base64url', (text) => {
  expect(fromBase64Url(text)).toBeNull()
})

test('base64 may come in lines, as Postgres writes it, and is nothing else', () => {
  const bytes = bytesOf(200)
  const lines = toBase64(bytes).replace(/.{76}/g, '$&\n')
  expect(lines).toContain('\n')
  expect(fromBase64(lines)).toEqual(bytes)
  expect(fromBase64('a-b_')).toBeNull()
})
