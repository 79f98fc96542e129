// The bytes of a file, read part by part as somebody takes them.

import type { Env } from '../env.ts'
import { getPart, type PartName } from './part.ts'

export interface Content {
  account_id: string
  /** In order, without gaps. */
  parts: readonly { id: string; begins_at: number; bytes: number }[]
}

export type GetPart = (name: PartName) => Promise<Uint8Array<ArrayBuffer>>

export interface Kept {
  last: (PartName & { bytes: Uint8Array<ArrayBuffer> }) | null
}

/** Reads parts, and keeps the last one: for who reads piece after piece. */
export function partsOf(env: Env, kept: Kept = { last: null }): GetPart {
  return async ({ account_id, id }) => {
    if (kept.last?.id !== id || kept.last.account_id !== account_id)
      kept.last = { account_id, id, bytes: await getPart(env, { account_id, id }) }
    return kept.last.bytes
  }
}

/** Those from `begin` on, and before `end`. */
export async function* bytesOf(
  get: GetPart,
  { account_id, parts }: Content,
  { begin, end }: { begin: number; end: number },
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  for (const { id, begins_at, bytes } of parts) {
    if (begins_at + bytes <= begin || begins_at >= end) continue
    const part = await get({ account_id, id })
    yield part.subarray(Math.max(0, begin - begins_at), end - begins_at)
  }
}
