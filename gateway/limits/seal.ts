// Seals a result so that only the caller's own Idempotency-Key opens it again (AES-GCM, the random IV in front).

import { fromBase64Url } from '../../contract/base64url.ts'
import { hmac } from '../../contract/hmac.ts'
import { dataSecretOf } from '../env.ts'
import type { RepeatableCall } from './repeatable-call.ts'

const IV_BYTES = 12

/** Derived from the caller's Idempotency-Key, which is stored nowhere. */
export function secretOf(call: RepeatableCall, account_id: string, data_secret?: string): Promise<string> {
  const { env, endpoint, idempotency_key } = call
  return hmac(`idempotency of ${account_id}, ${endpoint}: ${idempotency_key}`, data_secret ?? dataSecretOf(env))
}

export async function seal(bytes: Uint8Array<ArrayBuffer>, secret: string): Promise<Uint8Array<ArrayBuffer>> {
  const iv = crypto.getRandomValues(new Uint8Array(IV_BYTES))
  const sealed = await crypto.subtle.encrypt({ name: 'AES-GCM', iv }, await keyOf(secret), bytes)
  const all = new Uint8Array(IV_BYTES + sealed.byteLength)
  all.set(iv)
  all.set(new Uint8Array(sealed), IV_BYTES)
  return all
}

/** Answers null where it was sealed with another secret. */
export async function unseal(all: Uint8Array<ArrayBuffer>, secret: string): Promise<ArrayBuffer | null> {
  const iv = all.slice(0, IV_BYTES)
  const key = await keyOf(secret)
  return crypto.subtle.decrypt({ name: 'AES-GCM', iv }, key, all.slice(IV_BYTES)).catch(() => null)
}

function keyOf(secret: string) {
  return crypto.subtle.importKey('raw', fromBase64Url(secret)!, 'AES-GCM', false, ['encrypt', 'decrypt'])
}
