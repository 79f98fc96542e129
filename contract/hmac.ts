// HMAC-SHA256: what follows from a secret of the gateway and from nothing else.

import { toBase64Url } from './base64url.ts'

const encoder = new TextEncoder()
type HmacKey = Awaited<ReturnType<typeof crypto.subtle.importKey>>

const keys = new Map<string, Promise<HmacKey>>()

/** HMAC-SHA256 of `message`, base64url. */
export async function hmac(message: string, secret: string): Promise<string> {
  return toBase64Url(new Uint8Array(await crypto.subtle.sign('HMAC', await hmacKey(secret), encoder.encode(message))))
}

function hmacKey(secret: string): Promise<HmacKey> {
  let key = keys.get(secret)
  if (!key) {
    key = crypto.subtle.importKey('raw', encoder.encode(secret), { name: 'HMAC', hash: 'SHA-256' }, false, ['sign'])
    keys.set(secret, key)
  }
  return key
}
