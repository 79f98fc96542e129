// The ticket: the gateway's signed permission for one attempt at one generation, with its caps. WebCrypto only, so the
// same code signs in workerd and verifies in Node. Format: base64url(JSON) "." base64url(HMAC-SHA256 of the first part).

import { fromBase64Url, toBase64Url } from '../base64url.ts'

export interface Ticket {
  request_id: string
  attempt: number
  account_id: string
  /** Roots the account's part of the prefix cache. Only the gateway can make one, and it tells the node nothing. */
  cache_salt: string
  key_id: string
  model: string
  price_version: number
  reserved_nanousd: string // bigint as decimal
  prompt_tokens_max: number // over all prompts
  request_output_tokens_max: number // over all choices
  duration_ms_max: number // relative: clocks of gateway and node need not agree
}

const encoder = new TextEncoder()
type HmacKey = Awaited<ReturnType<typeof crypto.subtle.importKey>>

const keys = new Map<string, Promise<HmacKey>>()

function hmacKey(secret: string): Promise<HmacKey> {
  let key = keys.get(secret)
  if (!key) {
    key = crypto.subtle.importKey('raw', encoder.encode(secret), { name: 'HMAC', hash: 'SHA-256' }, false, [
      'sign',
      'verify',
    ])
    keys.set(secret, key)
  }
  return key
}

/** HMAC-SHA256 of `message`, base64url. Signs tickets and the bodies of node reports. */
export async function sign(message: string, secret: string): Promise<string> {
  return toBase64Url(new Uint8Array(await crypto.subtle.sign('HMAC', await hmacKey(secret), encoder.encode(message))))
}

/** Constant-time check of a signature made by `sign`. */
export async function verify(message: string, signature: string, secret: string): Promise<boolean> {
  const bytes = fromBase64Url(signature)
  return bytes !== null && crypto.subtle.verify('HMAC', await hmacKey(secret), bytes, encoder.encode(message))
}

export async function signTicket(ticket: Ticket, secret: string): Promise<string> {
  const payload = toBase64Url(encoder.encode(JSON.stringify(ticket)))
  return `${payload}.${await sign(payload, secret)}`
}

/** The ticket, or null where the text was not signed with this secret. */
export async function verifyTicket(text: string, secret: string): Promise<Ticket | null> {
  const [payload, signature, ...rest] = text.split('.')
  if (!payload || !signature || rest.length > 0) return null
  if (!(await verify(payload, signature, secret))) return null
  const bytes = fromBase64Url(payload)
  // What we signed ourselves we wrote ourselves: the shape needs no second check.
  return bytes && (JSON.parse(new TextDecoder().decode(bytes)) as Ticket)
}
