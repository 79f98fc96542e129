// The headers of a delivery, by Standard Webhooks 1.0: what is signed are the id, the moment of the attempt and the very bytes of the
// body. While a secret is being replaced both sign.

import { fromBase64, toBase64, toBase64Url } from '../../contract/base64url.ts'
import { secretKey } from '../../contract/ed25519.ts'

export interface Message {
  id: string
  body: string
}

export async function signedHeaders(
  { id, body }: Message,
  secrets: string[],
  at: Date,
): Promise<Record<string, string>> {
  const signatures = await Promise.all(secrets.map((secret) => signature({ id, body }, secret, at)))
  return {
    'webhook-id': id,
    'webhook-timestamp': String(unixSeconds(at)),
    'webhook-signature': signatures.join(' '),
  }
}

async function signature({ id, body }: Message, secret: string, at: Date): Promise<string> {
  const signed = new TextEncoder().encode(`${id}.${unixSeconds(at)}.${body}`)
  const bytes = fromBase64(secret.slice(secret.indexOf('_') + 1))!
  if (!secret.startsWith('whsk_')) {
    const key = await crypto.subtle.importKey('raw', bytes, { name: 'HMAC', hash: 'SHA-256' }, false, ['sign'])
    return `v1,${toBase64(new Uint8Array(await crypto.subtle.sign('HMAC', key, signed)))}`
  }
  const { secret: key } = await secretKey(toBase64Url(bytes))
  return `v1a,${toBase64(new Uint8Array(await crypto.subtle.sign('Ed25519', key, signed)))}`
}

function unixSeconds(at: Date): number {
  return Math.floor(at.getTime() / 1000)
}
