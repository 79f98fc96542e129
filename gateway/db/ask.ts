// Asks the teller from the worker, typed by functions.ts: the item is checked, and the answer narrows by its `decision`. Which of the
// teller's shards answers follows from the item (a key's hash, an account's id), so that one account's calls travel together.

import { type Env, settingsOf } from '../env.ts'
import { ApiError } from '../error.ts'
import {
  type Answer,
  type Decision,
  type FunctionName,
  functions,
  type Item,
  type LaneName,
  shardName,
} from './functions.ts'
import { RecentRefusals } from './recent-refusals.ts'
import { type Refusal, refusalOf } from './refusal.ts'

/** The database answered with an error: nothing of the call happened, and asking again would end the same way. */
export interface Failed {
  decision: 'failed'
  sqlstate: string
}

/** One answer. Refuses with 503 where the database or the teller has no time, and with 500 where the database failed. */
export async function ask<N extends FunctionName>(
  env: Env,
  name: N,
  item: Item<N>,
  lane?: LaneName,
): Promise<Answer<N>> {
  const [answer] = await askAll(env, name, [item], lane)
  if (answer!.decision === 'failed') throw failureOf(answer as Failed)
  return answer as Answer<N>
}

// Text that Postgres cannot hold (22P02 where it is a half of a surrogate pair), or a key too long for an index: of the asker's making,
// where no schema has refused it before.
const OF_THE_ITEM = new Set(['22021', '22P02', '22P05', '54000'])

export function failureOf({ sqlstate }: Failed): ApiError {
  return new ApiError(OF_THE_ITEM.has(sqlstate) ? 'invalid_value' : 'internal_error')
}

/** The answer whose decision is `wanted`; throws the refusal that any other is. All others must have a code (refusal.ts). */
export async function obtain<N extends FunctionName, W extends Decision<N>>(
  env: Env,
  name: N,
  item: Item<N>,
  wanted: W & RestRefuses<N, W>,
): Promise<Extract<Answer<N>, { decision: W }>> {
  const answer = await ask(env, name, item)
  if (answer.decision !== wanted) throw refusalOf(answer as { decision: Refusal })
  return answer as Extract<Answer<N>, { decision: W }>
}

/** Anything where every decision but `W` is a refusal, else an object that names those without a code. */
type RestRefuses<N extends FunctionName, W> =
  Exclude<Decision<N>, W | Refusal> extends never
    ? unknown
    : { decisions_without_a_code: Exclude<Decision<N>, W | Refusal> }

/**
 * One answer an item, in order, by the shard of the first: for callers that know what a failure means to them. They go by the lane of
 * the function, or another where whoever asks is in less of a hurry.
 */
export async function askAll<N extends FunctionName>(
  env: Env,
  name: N,
  items: Item<N>[],
  lane?: LaneName,
): Promise<(Answer<N> | Failed)[]> {
  const { key_hash } = items[0] as { key_hash?: string }
  const asker = key_hash === undefined ? null : `${functions[name].lane} ${key_hash}`
  const answers = await callTeller(env, { shard_by: shardName(name, items[0]!), asker }, (teller) =>
    teller.ask(name, items, lane),
  )
  if (answers === 'busy') throw new ApiError('overloaded')
  if (answers === 'unavailable') throw new ApiError('database_unavailable')
  return answers as (Answer<N> | Failed)[]
}

// A flood of refusals costs the teller as much as so many answers: it is asked once in this time for an asker.
const REFUSED_MS = 100
const refusals = new RecentRefusals(REFUSED_MS)

interface Shard {
  shard_by: string
  /** Whose limit in the teller the call is under, and of what kind; null where there is none. */
  asker: string | null
}

/**
 * Calls the teller of a shard; refuses an asker of too much. A stub is broken for good once its object has thrown or moved: a new one
 * is asked, once.
 */
export async function callTeller<A>(
  env: Env,
  { shard_by, asker }: Shard,
  call: (teller: TellerStub) => Promise<A>,
): Promise<Exclude<A, 'limited'>> {
  if (refusals.has(asker)) throw limited()
  const once = () => call(env.TELLER.get(env.TELLER.idFromName(shardOf(env, shard_by))))
  const answer = await once().catch(once) // all calls may be repeated
  if (answer !== 'limited') return answer as Exclude<A, 'limited'>
  refusals.add(asker)
  throw limited()
}

function limited(): ApiError {
  return new ApiError('rate_limit_requests', {
    message: 'Too much is asked for beside generations, or too much of it at a time.',
  })
}

type TellerStub = ReturnType<Env['TELLER']['get']>

export function shardOf(env: Env, name: string): string {
  return `teller-${hash(name) % settingsOf(env).teller_shards}`
}

// FNV-1a, 32 bits: spreads names evenly enough over a handful of shards.
function hash(text: string): number {
  let h = 0x811c9dc5
  for (let i = 0; i < text.length; i += 1) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193)
  return h >>> 0
}
