// The coarse sieve before everything: floods, and failed authentication, by address. It counts roughly and in each place for itself;
// the exact limits are decided in the database, by key and account (migrations/ledger/limits.sql).

import ipaddr from 'ipaddr.js'
import { ask } from '../db/ask.ts'
import type { Call } from '../env.ts'
import { ApiError } from '../error.ts'

const BLOCK_MS = 10_000
const LOCK_MS = 60_000 // of operators' keys
const REMEMBERED_MAX = 10_000

// Until when too much has failed from an address, by what was tried there. This isolate alone knows.
const blocked = new Map<string, number>()
// Hashes of keys that worked, of accounts and of operators.
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
  if (isBlocked(`node ${address}`)) throw new ApiError('too_many_failures')
  const { success } = await c.env.FLOOD.limit({ key: `node ${address}` })
  if (!success) throw new ApiError('too_many_requests')
}

/** Stands after it, and remembers from where nodes report, or from where came what none has signed. */
export async function rememberNode(c: Call): Promise<void> {
  const address = addressOf(c)
  if (c.res.status < 400) add(fleet, address)
  else if (c.res.status === 401 && !fleet.has(address)) await countFailure(c, `node ${address}`, BLOCK_MS)
}

/**
 * Stands before a key of an account is used. Where too much has failed from its address, one that was not seen to be good is looked up
 * by itself first, which costs little: a customer behind the address of whoever tries keys waits a moment longer, and is not shut out.
 */
export async function refuseGuessing(c: Call, keyHash: () => Promise<string>): Promise<void> {
  if (!isBlocked(`key ${addressOf(c)}`)) return
  const key_hash = await keyHash()
  if (good.has(key_hash)) return
  const { decision } = await ask(c.env, 'find_key', { key_hash })
  if (decision === 'unknown') throw new ApiError('too_many_failures')
  add(good, key_hash)
}

/** Stands after an answer, and remembers which key worked, or from where one did not. */
export async function rememberKey(c: Call): Promise<void> {
  const key_hash = c.get('key_hash')
  if (c.res.status < 400 && key_hash !== null) add(good, key_hash)
  if (c.res.status === 401) await countFailure(c, `key ${addressOf(c)}`, BLOCK_MS)
}

/**
 * The same for operators, who are few: where too much has failed from an address, no key is tried from there for a minute but those that
 * were seen to be good. From any other address each works.
 */
export function refuseOperatorGuessing(c: Call, key_hash: string): void {
  if (isBlocked(`operator ${addressOf(c)}`) && !good.has(key_hash)) throw new ApiError('too_many_failures')
}

export async function rememberOperator(c: Call, key_hash: string): Promise<void> {
  if (c.get('role') !== null) add(good, key_hash)
  if (c.res.status !== 401) return
  const address = addressOf(c)
  if (await countFailure(c, `operator ${address}`, LOCK_MS))
    console.error(
      `too many wrong operators’ keys came from ${address}: none is tried from there for ${LOCK_MS / 1000} s`,
    )
}

/** Whether it was one too many. */
async function countFailure(c: Call, key: string, block_ms: number): Promise<boolean> {
  const { success } = await c.env.FAILED_AUTHENTICATION.limit({ key })
  if (success) return false
  if (blocked.size >= REMEMBERED_MAX) blocked.clear()
  blocked.set(key, Date.now() + block_ms)
  return true
}

function isBlocked(key: string): boolean {
  const until = blocked.get(key)
  if (until !== undefined && until < Date.now()) blocked.delete(key)
  return until !== undefined && until >= Date.now()
}

function add(set: Set<string>, text: string): void {
  if (set.size >= REMEMBERED_MAX) set.clear()
  set.add(text)
}

/** Of IPv6 the network: who has one address of a /64 has all of them. */
function addressOf(c: Call): string {
  const address = c.get('address') ?? 'unknown'
  return address.includes(':') ? ipaddr.IPv6.parse(address).parts.slice(0, 4).join(':') : address
}
