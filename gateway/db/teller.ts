// The teller: a Durable Object that keeps connections to the database open and admits, settles and reads in batches. A worker
// cannot keep one across requests, and connecting costs ten times what the call itself does.
// Three lanes, because money that comes back (durable, slower) must not hold up the next admission, and reading neither. Which
// function goes by which, and what follows a late answer, stands in functions.ts. A fourth lane is another login's: it reads views, by
// the queries of queries.ts.

import { DurableObject } from 'cloudflare:workers'
import { type Env, settingsOf } from '../env.ts'
import { connect } from './connection.ts'
import { type Answer as FunctionAnswer, type FunctionName, followUp, functions, type Item } from './functions.ts'
import { type Answer, Lane, type LaneOptions } from './lane.ts'
import type { QueryAnswer, QueryItem, QueryName } from './queries.ts'
import { connectReader } from './reader.ts'

export class Teller extends DurableObject<Env> {
  readonly #lanes: { admit: Lane; settle: Lane; other: Lane }
  readonly #reads: Lane

  constructor(state: unknown, env: Env) {
    super(state, env)
    const { database_ms_max } = settingsOf(env)
    const lane = (options: Pick<LaneOptions, 'after'> = {}) =>
      new Lane({
        // Half the patience: a call that hangs can be asked once more before its caller gives up.
        connect: () => connect(env.HYPERDRIVE.connectionString, database_ms_max / 2),
        patience_ms: database_ms_max,
        onLate: (answer, item, name) => this.#follow(name as FunctionName, item, answer),
        mustEnd: (name) => functions[name as FunctionName].must_end ?? false,
        ...options,
      })
    const admit = lane()
    this.#lanes = { admit, settle: lane({ after: admit }), other: lane() }
    this.#reads = new Lane({
      connect: () => connectReader(env.HYPERDRIVE_READER.connectionString, database_ms_max / 2),
      patience_ms: database_ms_max,
      batch_max: 1, // a deadline is for one report, and not for all that wait behind it
    })
  }

  /** The rows of the query `name` for an item. */
  async query<N extends QueryName>(name: N, item: QueryItem<N>): Promise<QueryAnswer<N>> {
    // What a lane answers is of the name that it was asked by.
    return (await this.#reads.ask(name, item)) as QueryAnswer<N>
  }

  /** Asks the SQL function `name` about each item; one that cannot be answered in time makes the whole call `unavailable`. */
  async ask(name: FunctionName, items: object[]): Promise<object[] | 'busy' | 'unavailable'> {
    const lane = this.#lanes[functions[name].lane ?? 'other']
    const answers: Answer[] = await Promise.all(items.map((item) => lane.ask(name, item)))
    return answers.find((answer) => typeof answer === 'string') ?? (answers as object[])
  }

  /** A lane carries the items of any function: what it hands back is of the one that it was asked by. */
  #follow(name: FunctionName, item: object, answer: object): void {
    const next = followUp(name, item as Item<typeof name>, answer as FunctionAnswer<typeof name>)
    if (next) void this.ask(next.name, [next.item])
  }
}
