// The price book, by model, the newest version first.

import { and, asc, desc, eq } from 'drizzle-orm'
import { pricesView as prices } from '../schema/read.ts'
import type { ReadDb } from './read-db.ts'

export interface PriceFilter {
  model?: string | undefined
  /** Keeps to the prices that were agreed with this account. */
  account_id?: string | undefined
  limit: number
}

export function listPrices(db: ReadDb, { model, account_id, limit }: PriceFilter) {
  return db
    .select()
    .from(prices)
    .where(
      and(
        model === undefined ? undefined : eq(prices.model, model),
        account_id === undefined ? undefined : eq(prices.account_id, BigInt(account_id)),
      ),
    )
    .orderBy(asc(prices.model), desc(prices.version))
    .limit(limit)
}
