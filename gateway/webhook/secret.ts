// The secrets that webhooks are signed with: `whsec_` of an HMAC, which the customer knows too, or `whsk_` of an Ed25519 pair, whose public
// half (`whpk_`) is all that the customer needs. At rest they are sealed with a secret that the database does not have.

import { fromBase64, fromBase64Url, toBase64, toBase64Url } from '../../contract/base64url.ts'
import { secretKey } from '../../contract/ed25519.ts'
import { hmac } from '../../contract/hmac.ts'
import { dataSecretOf, type Env } from '../env.ts'
import { seal, unseal } from '../seal.ts'

const SECRET_BYTES = 32
const HINT_LENGTH = 4

export type SecretType = 'hmac' | 'ed25519'

export interface NewSecret {
  /** What the customer is shown. */
  shown: string
  stored: { sealed: string; sealed_by: string; hint: string; public_key: string | null }
}

/** A new secret; of a seed (32 bytes, base64url) the same each time. */
export async function newSecret(env: Env, type: SecretType, seed: string | null): Promise<NewSecret> {
  const bytes =
    seed === null ? crypto.getRandomValues(new Uint8Array(SECRET_BYTES)) : fromBase64Url(await hmac('webhook', seed))!
  const secret = `${type === 'hmac' ? 'whsec' : 'whsk'}_${toBase64(bytes)}`
  const public_key = type === 'hmac' ? null : await publicKeyOf(bytes)
  const shown = public_key ?? secret
  const hint = `${shown.slice(0, shown.indexOf('_') + 1)}…${shown.slice(-HINT_LENGTH)}`
  return { shown, stored: { ...(await sealed(env, secret)), hint, public_key } }
}

async function publicKeyOf(bytes: Uint8Array): Promise<string> {
  const { x } = await secretKey(toBase64Url(bytes))
  return `whpk_${toBase64(fromBase64Url(x)!)}`
}

const encoder = new TextEncoder()

/** A secret as it is kept, and by which secret of the deployment. */
export async function sealed(env: Env, secret: string): Promise<{ sealed: string; sealed_by: string }> {
  const by = dataSecretOf(env)
  return { sealed: toBase64(await seal(encoder.encode(secret), await sealingKey(by))), sealed_by: await nameOf(by) }
}

/** The secret again; null where it was sealed by none that this deployment has. */
export async function opened(env: Env, sealed: string): Promise<string | null> {
  const bytes = fromBase64(sealed)
  if (!bytes) return null
  for (const by of [dataSecretOf(env), env.DATA_SECRET_BEFORE]) {
    const secret = by ? await unseal(bytes, await sealingKey(by)) : null
    if (secret) return new TextDecoder().decode(secret)
  }
  return null
}

function sealingKey(data_secret: string): Promise<string> {
  return hmac('secrets of webhooks', data_secret)
}

/** Says which secret of the deployment seals now. */
export function sealingName(env: Env): Promise<string> {
  return nameOf(dataSecretOf(env))
}

/** Tells two secrets of a deployment apart, and nothing of either. */
async function nameOf(data_secret: string): Promise<string> {
  return (await hmac('name of the secret that seals webhooks', data_secret)).slice(0, 12)
}
