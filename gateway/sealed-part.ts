// What is said and answered, as it lies in the database: packed, and sealed with a key that is made of its account, its id, what it is and
// a secret that the database does not have. So a row that is moved elsewhere opens for nobody.

import { fromBase64, toBase64 } from '../contract/base64url.ts'
import { hmac } from '../contract/hmac.ts'
import type { Env } from './env.ts'
import { sealForEnv, unsealForEnv } from './seal.ts'

export interface Part {
  account_id: string
  /** Of the request, or of the job. */
  id: string
  /** Which part of it. */
  name: string
}

/** Base64. */
export async function sealedPart(env: Env, value: unknown, part: Part): Promise<string> {
  return toBase64(await sealForEnv(env, await deflated(JSON.stringify(value)), secretOf(part)))
}

/** Null where it was sealed with another secret. */
export async function openedPart<T>(env: Env, text: string, part: Part): Promise<T | null> {
  const plain = await unsealForEnv(env, fromBase64(text)!, secretOf(part))
  return plain && (JSON.parse(await inflated(plain)) as T)
}

const secretOf =
  ({ account_id, id, name }: Part) =>
  (data_secret: string) =>
    hmac(`stored ${name} of ${account_id}: ${id}`, data_secret)

async function deflated(text: string): Promise<Uint8Array<ArrayBuffer>> {
  const stream = new Blob([text]).stream().pipeThrough(new CompressionStream('deflate-raw'))
  return new Uint8Array(await new Response(stream).arrayBuffer())
}

async function inflated(bytes: ArrayBuffer): Promise<string> {
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream('deflate-raw'))).text()
}
