// The coarse sieve before everything: floods, and failed authentication, by address. It counts roughly and in each place for itself;
// the exact limits are decided in the database, by key and account (migrations/ledger/limits.sql).

import type { Call } from '../env.ts'
import { ApiError } from '../error.ts'

const BLOCK_MS = 10_000
const REMEMBERED_MAX = 10_000

// Until when, by address, keys that were not seen to be good are not even looked up. This isolate alone knows.
const blocked = new Map<string, number>()
// Hashes of keys that worked: a customer is not shut out by a neighbour behind the same address.
const good = new Set<string>()

// Nodes of ours have reported from these. A fleet may share one address, and a report of theirs is never turned away.
const fleet = new Set<string>()

export async function refuseFlood(c: Call): Promise<void> {
  const { success } = await c.env.FLOOD.limit({ key: addressOf(c) })
  if (!success) throw new ApiError('too_many_requests')
}

/** Stands before the check of a report's signature, which costs reading it whole. */
export async function refuseForgeries(c: Call): Promise<void> {
  const address = addressOf(c)
  if (fleet.has(address)) return
  if ((blocked.get(address) ?? 0) > Date.now()) throw new ApiError('too_many_failures')
  const { success } = await c.env.FLOOD.limit({ key: `node ${address}` })
  if (!success) throw new ApiError('too_many_requests')
}

/** Stands after it, and remembers from where nodes report, or from where came what none has signed. */
export async function rememberNode(c: Call): Promise<void> {
  if (c.res.status < 400) add(fleet, addressOf(c))
  else if (c.res.status === 401 && !fleet.has(addressOf(c))) await countFailure(c)
}

/** Stands before a key is looked up, and refuses it where too much has failed from its address. */
export async function refuseGuessing(c: Call, keyHash: () => Promise<string>): Promise<void> {
  const until = blocked.get(addressOf(c))
  if (until === undefined) return
  if (until < Date.now()) blocked.delete(addressOf(c))
  else if (!good.has(await keyHash())) throw new ApiError('too_many_failures')
}

/** Stands after an answer, and remembers which key worked, or from where one did not. */
export async function rememberKey(c: Call): Promise<void> {
  const key_hash = c.get('key_hash')
  if (c.res.status < 400 && key_hash !== null) add(good, key_hash)
  if (c.res.status === 401) await countFailure(c)
}

async function countFailure(c: Call): Promise<void> {
  const { success } = await c.env.FAILED_AUTHENTICATION.limit({ key: addressOf(c) })
  if (success) return
  if (blocked.size >= REMEMBERED_MAX) blocked.clear()
  blocked.set(addressOf(c), Date.now() + BLOCK_MS)
}

function add(set: Set<string>, text: string): void {
  if (set.size >= REMEMBERED_MAX) set.clear()
  set.add(text)
}

function addressOf(c: Call): string {
  return c.get('address') ?? 'unknown'
}
