// A part of a file: at most so many bytes, sealed, as one object with a random name. A part is as much as whoever writes or reads a file
// holds at a time, so that any length goes through in the same memory, and needs nothing of a bucket but to put, get and delete.

import { hmac } from '../../contract/hmac.ts'
import type { Env } from '../env.ts'
import { ApiError } from '../error.ts'
import { sealForEnv, unsealForEnv } from '../seal.ts'

export const PART_BYTES = 2 << 20

export interface PartName {
  account_id: string
  id: string
}

export async function putPart(env: Env, name: PartName, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
  const sealed = await sealForEnv(env, bytes, secretOf(name))
  await reached(bucketOf(env).put(keyOf(name.id), sealed))
}

export async function getPart(env: Env, name: PartName): Promise<Uint8Array<ArrayBuffer>> {
  const object = await reached(bucketOf(env).get(keyOf(name.id)))
  const sealed = object && new Uint8Array(await reached(object.arrayBuffer()))
  const plain = sealed && (await unsealForEnv(env, sealed, secretOf(name)))
  if (!plain) throw new Error(`the part ${name.id} of a file ${object ? 'cannot be opened' : 'is missing'}`)
  return new Uint8Array(plain)
}

export async function deleteParts(env: Env, ids: readonly string[]): Promise<void> {
  await bucketOf(env).delete(ids.map(keyOf))
}

export function bucketOf({ FILES }: Env) {
  if (FILES) return FILES
  throw new ApiError('files_not_configured')
}

async function reached<T>(work: Promise<T>): Promise<T> {
  try {
    return await work
  } catch (error) {
    console.error('files:', error)
    throw new ApiError('files_unavailable')
  }
}

function keyOf(id: string): string {
  return `parts/${id.slice(0, 2)}/${id}`
}

const secretOf =
  ({ account_id, id }: PartName) =>
  (data_secret: string) =>
    hmac(`part of a file of ${account_id}: ${id}`, data_secret)
