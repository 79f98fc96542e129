// Asks the teller for the rows of a query, typed by queries.ts.

import type { Env } from '../env.ts'
import { ApiError } from '../error.ts'
import { callTeller, obtain } from './ask.ts'
import type { Item } from './functions.ts'
import type { QueryItem, QueryName, QueryRow } from './queries.ts'

/** The rows, in order. Refuses with 503 where they cannot be read now, whatever the reason is. */
export async function rowsOf<N extends QueryName>(env: Env, name: N, item: QueryItem<N>): Promise<QueryRow<N>[]> {
  const shard_by = 'account_id' in item ? (item.account_id ?? 'admin') : 'admin'
  const rows = await callTeller(env, { shard_by, asker: `views ${shard_by}` }, (teller) => teller.query(name, item))
  if (rows === 'busy') throw new ApiError('overloaded')
  if (!Array.isArray(rows)) throw new ApiError('database_unavailable')
  return rows
}

/** The account to read for. The database says whose the key is and whether it may ask; of an operator, whether the account exists. */
export async function accountOf(env: Env, asker: Item<'find_account'>): Promise<string> {
  return (await obtain(env, 'find_account', asker, 'allowed')).account_id
}
