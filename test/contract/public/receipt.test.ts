import { createPublicKey, verify } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { canonicalJson, receiptSigner, verifyReceipt } from '../../../contract/public/receipt.ts'

const seed = Buffer.alloc(32, 7).toString('base64url')
const receipt = { request_id: 'r', cost_nanousd: '12', nested: { b: [1, null, 'ü'], a: 0.1 }, entries: [] }

test('a receipt verifies by its public key alone', async () => {
  const signer = await receiptSigner(seed)
  const signed = await signer.sign(receipt)
  expect(await verifyReceipt(signed, [{ kid: signer.key.kid, x: signer.key.x }])).toBe(true)
  expect(await verifyReceipt(JSON.parse(JSON.stringify(signed)), [signer.key])).toBe(true)
})

test('another implementation verifies it too, from its public key as JWK', async () => {
  const signer = await receiptSigner(seed)
  const { signature, ...signed } = await signer.sign(receipt)
  const key = createPublicKey({ format: 'jwk', key: { ...signer.key } })
  expect(verify(null, Buffer.from(canonicalJson(signed)), key, Buffer.from(signature.value, 'base64url'))).toBe(true)
})

describe('does not verify', () => {
  test.each([
    ['with another cost', { cost_nanousd: '13' }],
    ['with a field more', { extra: 1 }],
    ['without a field', { entries: undefined }],
    ['without its signature', { signature: undefined }],
  ])('%s', async (_, change) => {
    const signer = await receiptSigner(seed)
    expect(await verifyReceipt({ ...(await signer.sign(receipt)), ...change }, [signer.key])).toBe(false)
  })

  test('by another key', async () => {
    const [signer, other] = [await receiptSigner(seed), await receiptSigner(Buffer.alloc(32, 8).toString('base64url'))]
    expect(await verifyReceipt(await signer.sign(receipt), [other.key])).toBe(false)
    expect(await verifyReceipt(await signer.sign(receipt), [{ ...other.key, kid: signer.key.kid }])).toBe(false)
  })
})

test.each([
  ['before its key was in use', 1_699_999_000, false],
  ['as soon as it was, by a clock that is behind', 1_699_999_800, true],
  ['just before its end, by a clock that is ahead', 1_700_086_600, true],
  ['after its end', 1_700_087_000, false],
])('a receipt that was signed %s', async (_, signed_unix_s, is_valid) => {
  const signer = await receiptSigner(seed)
  const key = { ...signer.key, nbf: 1_700_000_000, exp: 1_700_086_400 }
  expect(await verifyReceipt(await signer.sign({ ...receipt, signed_unix_s }), [key])).toBe(is_valid)
})

test('canonical JSON sorts by UTF-16 units and writes what JSON writes', () => {
  expect(canonicalJson({ b: 1, a: { '€': 1e21, '\r': '\u2028"' }, A: [true, null], u: undefined })).toBe(
    '{"A":[true,null],"a":{"\\r":"\u2028\\"","€":1e+21},"b":1}',
  )
})
