// Asks the teller from the worker. Which of its shards answers follows from a name (a key's hash, an account's id), so that one
// account's calls meet in one place and travel together.

import { type Env, settingsOf } from '../env.ts'
import { ApiError } from '../error.ts'

export interface Decided {
  decision: string
}

/** One answer an item, in order. Refuses with 503 where the database or the teller has no time. */
export async function askTeller<A extends Decided>(
  env: Env,
  name: string,
  { shard_by, items }: { shard_by: string; items: object[] },
): Promise<A[]> {
  const shard = shardOf(env, shard_by)
  const ask = () => env.TELLER.get(env.TELLER.idFromName(shard)).ask(name, items)
  // A stub is broken for good once its object has thrown or moved: a new one is asked, once. All calls may be repeated.
  const answers = await ask().catch(ask)
  if (answers === 'busy') throw new ApiError('overloaded')
  if (answers === 'unavailable') throw new ApiError('database_unavailable')
  return answers as A[]
}

export function shardOf(env: Env, name: string): string {
  return `teller-${hash(name) % settingsOf(env).teller_shards}`
}

// FNV-1a, 32 bits: spreads names evenly enough over a handful of shards.
function hash(text: string): number {
  let h = 0x811c9dc5
  for (let i = 0; i < text.length; i += 1) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193)
  return h >>> 0
}
