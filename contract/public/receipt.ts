// Receipts: what a request used and cost, signed so that anybody can check it with the public key alone (Ed25519 over canonical
// JSON, RFC 8785). To verify one elsewhere: take `signature` out, write the rest with keys sorted and no spaces, and check
// `signature.value` with the key of that `kid` from /.well-known/receipt-keys.json, which also tells when that key was in use.

import { fromBase64Url, toBase64Url } from '../base64url.ts'
import { secretKey } from '../ed25519.ts'
import type { ReceiptKey, ReceiptSignature } from './receipt-key.ts'

export type { ReceiptKey, ReceiptSignature }

export interface ReceiptSigner {
  key: ReceiptKey
  sign<R extends object>(receipt: R): Promise<R & { signature: ReceiptSignature }>
}

const encoder = new TextEncoder()

/** A signer from 32 secret bytes (base64url). */
export async function receiptSigner(seed: string): Promise<ReceiptSigner> {
  const { secret, x } = await secretKey(seed)
  const kid = await thumbprint(x)
  return {
    key: { kty: 'OKP', crv: 'Ed25519', x, kid, alg: 'EdDSA', use: 'sig' },
    sign: async (receipt) => {
      const value = await crypto.subtle.sign('Ed25519', secret, encoder.encode(canonicalJson(receipt)))
      return { ...receipt, signature: { alg: 'EdDSA', kid, value: toBase64Url(new Uint8Array(value)) } }
    },
  }
}

/** Whether a receipt is, in every field, what the holder of one of these keys signed while that key was in use. */
export async function verifyReceipt(receipt: object, keys: VerifyingKey[]): Promise<boolean> {
  const { signature, ...signed } = receipt as { signature?: ReceiptSignature; signed_unix_s?: number }
  const key = keys.find(({ kid }) => kid === signature?.kid)
  if (!signature || !key || signature.alg !== 'EdDSA' || !wasInUse(key, signed.signed_unix_s)) return false
  const jwk = { kty: 'OKP', crv: 'Ed25519', x: key.x }
  const publicKey = await crypto.subtle.importKey('jwk', jwk, 'Ed25519', false, ['verify'])
  const value = fromBase64Url(signature.value)
  return value !== null && crypto.subtle.verify('Ed25519', publicKey, value, encoder.encode(canonicalJson(signed)))
}

type VerifyingKey = Pick<ReceiptKey, 'kid' | 'x' | 'nbf' | 'exp'>

// The clocks of those who sign and of the database that notes when keys are in use may differ by this much.
const CLOCKS_S_MAX = 300

function wasInUse({ nbf = 0, exp = Infinity }: VerifyingKey, signed_unix_s = 0): boolean {
  return nbf - CLOCKS_S_MAX <= signed_unix_s && signed_unix_s <= exp + CLOCKS_S_MAX
}

/** JSON with the keys of every object sorted by UTF-16 units and no spaces: one text for one value. */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join()}]`
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  const fields = Object.entries(value).filter(([, field]) => field !== undefined)
  const sorted = fields.sort(([a], [b]) => (a < b ? -1 : 1))
  return `{${sorted.map(([name, field]) => `${JSON.stringify(name)}:${canonicalJson(field)}`).join()}}`
}

/** RFC 7638. */
async function thumbprint(x: string): Promise<string> {
  const digest = await crypto.subtle.digest('SHA-256', encoder.encode(canonicalJson({ crv: 'Ed25519', kty: 'OKP', x })))
  return toBase64Url(new Uint8Array(digest))
}
