// The coarse sieve before everything: floods, and failed authentication, by address. It counts roughly and in each place for itself;
// the exact limits are decided in the database, by key and account (migrations/functions/limits.sql).

import type { Call } from '../env.ts'
import { ApiError } from '../error.ts'

const BLOCK_MS = 10_000
const REMEMBERED_MAX = 10_000

// By address: until when keys that were not seen to be good are not even looked up. Of this isolate alone.
const blocked = new Map<string, number>()
// Hashes of what authenticated: a customer is not shut out by a neighbour behind the same address.
const good = new Set<string>()

export async function refuseFlood(c: Call): Promise<void> {
  const { success } = await c.env.FLOOD.limit({ key: c.var.address ?? 'unknown' })
  if (!success) throw new ApiError('too_many_requests')
}

/** Before a key is looked up: has too much failed from where it comes? */
export async function refuseGuessing(c: Call): Promise<void> {
  const until = blocked.get(c.var.address ?? 'unknown')
  if (until === undefined) return
  if (until < Date.now()) blocked.delete(c.var.address ?? 'unknown')
  else if (!good.has(await credential(c))) throw new ApiError('too_many_failures')
}

/** After an answer: what failed is counted, and where too much did, the answer says so. */
export async function countFailure(c: Call): Promise<void> {
  if (c.res.status !== 401) return remember(c)
  const address = c.var.address ?? 'unknown'
  const { success } = await c.env.FAILED_AUTHENTICATION.limit({ key: address })
  if (success) return
  if (blocked.size >= REMEMBERED_MAX) blocked.clear()
  blocked.set(address, Date.now() + BLOCK_MS)
}

// Only while something fails is it worth knowing who does not.
async function remember(c: Call): Promise<void> {
  if (blocked.size === 0 || c.res.status >= 400) return
  if (good.size >= REMEMBERED_MAX) good.clear()
  good.add(await credential(c))
}

async function credential(c: Call): Promise<string> {
  const text = new TextEncoder().encode(c.req.header('authorization') ?? '')
  return new Uint8Array(await crypto.subtle.digest('SHA-256', text)).join()
}
