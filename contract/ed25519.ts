// Ed25519 by WebCrypto, so that the same code signs in workerd and verifies in Node. A key is known by its `kid`, which follows from its
// public half. Every signature names its purpose, so that one that was given for a ticket is never taken for one of anything else.

import { fromBase64Url, toBase64Url } from './base64url.ts'

const SEED_BYTES = 32
const SIGNATURE_BYTES = 64

/** What is signed: a ticket, a question and an answer by a gateway, a report by a node. */
export type Purpose = 'ticket' | 'question' | 'answer' | 'report'

export interface PublicKey {
  kid: string
  x: string // base64url, 32 bytes
}

export interface Signer extends PublicKey {
  /** The signature, base64url. */
  sign(purpose: Purpose, text: string): Promise<string>
}

const encoder = new TextEncoder()
type Secret = Awaited<ReturnType<typeof crypto.subtle.importKey>>

/** A signer from 32 secret bytes (base64url). */
export async function signer(seed: string): Promise<Signer> {
  const { secret, x } = await secretKey(seed)
  return {
    kid: await kidOf(x),
    x,
    sign: async (purpose, text) =>
      toBase64Url(new Uint8Array(await crypto.subtle.sign('Ed25519', secret, message(purpose, text)))),
  }
}

/** The private key of a seed, and its public half. */
export async function secretKey(seed: string): Promise<{ secret: Secret; x: string }> {
  const bytes = fromBase64Url(seed)
  if (bytes?.length !== SEED_BYTES) throw new Error(`a seed is ${SEED_BYTES} bytes as base64url`)
  const secret = await crypto.subtle.importKey('pkcs8', pkcs8(bytes), 'Ed25519', true, ['sign'])
  const { x } = await crypto.subtle.exportKey('jwk', secret)
  return { secret, x: x! }
}

/** Whether the holder of this key signed the text for this purpose. A key or a signature that is none signs nothing. */
export async function verifies(
  { x }: { x: string },
  purpose: Purpose,
  text: string,
  signature: string,
): Promise<boolean> {
  const bytes = fromBase64Url(signature)
  const key = await publicKey(x)
  if (bytes?.length !== SIGNATURE_BYTES || !key) return false
  return crypto.subtle.verify('Ed25519', key, bytes, message(purpose, text))
}

/** The first half of the SHA-256 of a public key: two keys of one deployment never share it. */
export async function kidOf(x: string): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', encoder.encode(x)))
  return toBase64Url(digest.subarray(0, 12))
}

/** Whether a text is 32 bytes as base64url writes them: the form of a seed and of a public key. */
export function isKeyText(text: string): boolean {
  return /^[A-Za-z0-9_-]{43}$/.test(text)
}

const imported = new Map<string, Promise<Secret | null>>()
const IMPORTED_MAX = 1000

/** Null where the text is no point of the curve. */
function publicKey(x: string): Promise<Secret | null> {
  const known = imported.get(x)
  if (known) return known
  const jwk = { kty: 'OKP', crv: 'Ed25519', x }
  const key = crypto.subtle.importKey('jwk', jwk, 'Ed25519', false, ['verify']).catch(() => null)
  if (imported.size >= IMPORTED_MAX) imported.clear()
  imported.set(x, key)
  return key
}

function message(purpose: Purpose, text: string): Uint8Array<ArrayBuffer> {
  return encoder.encode(`ziya ${purpose}\n${text}`)
}

// The frame that PKCS #8 puts around 32 bytes of an Ed25519 key (RFC 8410).
function pkcs8(seed: Uint8Array): Uint8Array<ArrayBuffer> {
  const frame = [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20]
  return Uint8Array.from([...frame, ...seed])
}
