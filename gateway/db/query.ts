// Asks the teller for the rows of a query, typed by queries.ts.

import type { Env } from '../env.ts'
import { ApiError } from '../error.ts'
import { obtain, shardOf } from './ask.ts'
import type { Item } from './functions.ts'
import type { QueryItem, QueryName, QueryRow } from './queries.ts'

/** The rows, in order. Refuses with 503 where they cannot be read now, whatever the reason is. */
export async function rowsOf<N extends QueryName>(env: Env, name: N, item: QueryItem<N>): Promise<QueryRow<N>[]> {
  const shard = shardOf(env, 'account_id' in item ? (item.account_id ?? 'admin') : 'admin')
  const read = () => env.TELLER.get(env.TELLER.idFromName(shard)).query(name, item)
  // A stub is broken for good once its object has thrown or moved: a new one is asked, once.
  const rows = await read().catch(read)
  if (rows === 'busy') throw new ApiError('overloaded')
  if (!Array.isArray(rows)) throw new ApiError('database_unavailable')
  return rows
}

/** The account to read for. The database says whose the key is and whether it may ask; of an operator, whether the account exists. */
export async function accountOf(env: Env, asker: Item<'find_account'>): Promise<string> {
  return (await obtain(env, 'find_account', asker, 'allowed')).account_id
}
