// The teller: a Durable Object that keeps connections to the database open and admits, settles and reads in batches. A worker
// cannot keep one across requests, and connecting costs ten times what the call itself does.
// A lane for each kind of call, because none may hold up another: admissions wait for no money that comes back (which is durable, and
// slower), nothing that is small waits for lists or kept results, nobody for background duties, which have their own time. Which
// function goes by which, and what follows a late answer, stands in functions.ts. One more lane is another login's: it reads views, by
// the queries of queries.ts.

import { DurableObject } from 'cloudflare:workers'
import { type Env, settingsOf } from '../env.ts'
import { connect } from './connection.ts'
import {
  type Answer as FunctionAnswer,
  type FunctionName,
  followUp,
  functions,
  type Item,
  inPlaceOf,
  type LaneName,
  shardName,
} from './functions.ts'
import { type Answer, Lane, type LaneOptions } from './lane.ts'
import { Meter } from './meter.ts'
import type { QueryAnswer, QueryItem, QueryName } from './queries.ts'
import { connectReader } from './reader.ts'

// The time of a duty that no client waits for: it reads many rows, in steps that are bounded by their number.
const BACKGROUND_MS_MAX = 10_000

// What is large, lists of a hundred rows and results of a megabyte: how many one statement may carry, and how many lists one party may
// wait for.
const LARGE_MAX = 4
const LISTS_MAX = 8
// Pieces of a few hundred kilobytes at most, and often much less.
const JOBS_MAX = 16

export class Teller extends DurableObject<Env> {
  readonly #lanes: Record<LaneName, Lane>
  readonly #views: Lane
  readonly #meter: Meter

  constructor(state: unknown, env: Env) {
    super(state, env)
    const { database_ms_max, other_requests_per_minute } = settingsOf(env)
    const lane = ({ ms_max = database_ms_max, ...options }: Partial<LaneOptions> & { ms_max?: number } = {}) =>
      new Lane({
        // Half the patience: a call that hangs can be asked once more before its caller gives up.
        connect: () => connect(env.HYPERDRIVE.connectionString, ms_max / 2),
        patience_ms: ms_max,
        linger_ms: ms_max / 2,
        onLate: (answer, item, name) => this.#follow(name as FunctionName, item, answer),
        onUnknown: (name, item, is_wanted) => this.#find(name as FunctionName, item, is_wanted),
        mustEnd: (name) => functions[name as FunctionName].must_end ?? false,
        ...options,
      })
    const admit = lane()
    this.#lanes = {
      admit,
      settle: lane({ after: admit }),
      give_back: lane(),
      result: lane({ batch_max: LARGE_MAX }),
      change: lane(),
      read: lane(),
      list: lane({ batch_max: LARGE_MAX, party_max: LISTS_MAX }),
      background: lane({ ms_max: 2 * BACKGROUND_MS_MAX }),
      webhook: lane({ ms_max: BACKGROUND_MS_MAX }),
      job: lane({ batch_max: JOBS_MAX }),
    }
    this.#views = lane({
      connect: () => connectReader(env.HYPERDRIVE_READER.connectionString, database_ms_max / 2),
      batch_max: 1, // a deadline is for one report, and not for all that wait behind it
      party_max: LISTS_MAX,
    })
    this.#meter = new Meter(other_requests_per_minute)
  }

  /** The rows of the query `name` for an item. */
  async query<N extends QueryName>(name: N, item: QueryItem<N>): Promise<QueryAnswer<N>> {
    const party = 'account_id' in item ? (item.account_id ?? 'admin') : 'admin'
    // What a lane answers is of the name that it was asked by.
    return (await this.#views.ask(name, item, party)) as QueryAnswer<N>
  }

  /** Asks the SQL function `name` about each item; one that cannot be answered in time makes the whole call `unavailable`. */
  async ask(
    name: FunctionName,
    items: object[],
    lane?: LaneName,
  ): Promise<object[] | 'busy' | 'unavailable' | 'limited'> {
    if (!items.every((item) => this.#mayAsk(name, item))) return 'limited'
    const answers = await Promise.all(items.map((item) => this.#answer(name, item, lane)))
    return answers.find((answer) => typeof answer === 'string') ?? (answers as object[])
  }

  #answer(name: FunctionName, item: object, lane = functions[name].lane): Promise<Answer> {
    return this.#lanes[lane].ask(name, item, shardName(name, item as Item<typeof name>))
  }

  /** What a key asks by these lanes is counted here; what it generates, in the database. */
  #mayAsk(name: FunctionName, item: object): boolean {
    const cost = { read: 1, change: 1, result: 1, list: 10 }[functions[name].lane as string]
    return cost === undefined || !('key_hash' in item) || this.#meter.take(String(item.key_hash), cost)
  }

  /** A lane carries the items of any function: what it hands back is of the one that it was asked by. */
  #follow(name: FunctionName, item: object, answer: object): void {
    const next = followUp(name, item as Item<typeof name>, answer as FunctionAnswer<typeof name>)
    if (next) void this.#answer(next.name, next.item)
  }

  /** What became of an item that got no answer in time; null where it may be asked again. */
  #find(name: FunctionName, item: object, is_wanted: boolean): Promise<Answer> | null {
    const call = inPlaceOf(name, item as Item<typeof name>, is_wanted)
    if (!call) return null
    // One that was not made, or is undone, is as if it had never been asked for.
    return this.#answer(call.name, call.item).then((found) =>
      typeof found === 'object' && 'decision' in found && found.decision === 'admitted' ? found : 'unavailable',
    )
  }
}
