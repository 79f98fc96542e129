// The teller: a Durable Object that keeps connections to the database open and admits, settles and reads in batches. A worker
// cannot keep one across requests, and connecting costs ten times what the call itself does.
// Three lanes, because money that comes back (durable, slower) must not hold up the next admission, and reading neither. A fourth is
// another login's: it reads views, by the queries of queries.ts, one at a time.

import { DurableObject } from 'cloudflare:workers'
import { type Env, settingsOf } from '../env.ts'
import { connect } from './connection.ts'
import { type Answer, Lane, type LaneOptions } from './lane.ts'
import type { QueryAnswer, QueryItem, QueryName } from './queries.ts'
import { connectReader } from './reader.ts'

export class Teller extends DurableObject<Env> {
  readonly #lanes: { admit: Lane; settle: Lane; other: Lane }
  readonly #reads: Lane

  constructor(state: unknown, env: Env) {
    super(state, env)
    const { database_ms_max } = settingsOf(env)
    const lane = (options: Partial<LaneOptions> = {}) =>
      new Lane({
        // Half the patience: a call that hangs can be asked once more before its caller gives up.
        connect: () => connect(env.HYPERDRIVE.connectionString, database_ms_max / 2),
        patience_ms: database_ms_max,
        ...options,
      })
    const admit = lane({ onLate: (answer, item) => this.#giveBack(answer, item), mustEnd: () => true })
    // Money that is given back is, also where the client has its 503 already.
    this.#lanes = { admit, settle: lane({ after: admit }), other: lane({ mustEnd: (name) => name === 'void' }) }
    this.#reads = lane({
      connect: () => connectReader(env.HYPERDRIVE_READER.connectionString, database_ms_max / 2),
      batch_max: 1,
    })
  }

  /** The rows of the query `name` for an item. */
  async query<N extends QueryName>(name: N, item: QueryItem<N>): Promise<QueryAnswer<N>> {
    // What a lane answers is of the name that it was asked by.
    return (await this.#reads.ask(name, item)) as QueryAnswer<N>
  }

  /** Asks the SQL function `name` about each item; one that cannot be answered in time makes the whole call `unavailable`. */
  async ask(name: string, items: object[]): Promise<object[] | 'busy' | 'unavailable'> {
    const lane = name === 'admit' ? this.#lanes.admit : name === 'settle' ? this.#lanes.settle : this.#lanes.other
    const answers: Answer[] = await Promise.all(items.map((item) => lane.ask(name, item)))
    return answers.find((answer) => typeof answer === 'string') ?? (answers as object[])
  }

  /** An admission that came too late for its caller holds money for nobody. */
  #giveBack(answer: object, item: object): void {
    if ((answer as { decision: string }).decision === 'admitted')
      void this.#lanes.other.ask('void', { ...item, ...answer, attempt: 1 })
  }
}
