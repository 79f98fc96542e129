// Seals what is kept with a secret that the database does not have (AES-GCM, the random IV in front).

import { fromBase64Url } from '../contract/base64url.ts'
import { dataSecretOf, type Env } from './env.ts'

const IV_BYTES = 12

/** `secret`: 32 bytes, base64url. */
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

/** Makes of a secret of the data the one that a thing is sealed with. */
type Derive = (data_secret: string) => Promise<string>

export async function sealForEnv(env: Env, bytes: Uint8Array<ArrayBuffer>, derive: Derive) {
  return seal(bytes, await derive(dataSecretOf(env)))
}

/** Answers null where it was sealed with neither the secret of now nor the one before. */
export async function unsealForEnv(
  env: Env,
  all: Uint8Array<ArrayBuffer>,
  derive: Derive,
): Promise<ArrayBuffer | null> {
  const { DATA_SECRET_BEFORE: before } = env
  return (
    (await unseal(all, await derive(dataSecretOf(env)))) ?? (before ? await unseal(all, await derive(before)) : null)
  )
}

function keyOf(secret: string) {
  return crypto.subtle.importKey('raw', fromBase64Url(secret)!, 'AES-GCM', false, ['encrypt', 'decrypt'])
}
