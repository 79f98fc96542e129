// The list prices that a deployment starts with. Later ones are the operator's to publish.

import type postgres from 'postgres'
import catalog from '../models/catalog.json' with { type: 'json' }

export interface ListPrice {
  model: string
  input_nanousd_per_token: string
  output_nanousd_per_token: string
}

/** The list price of every model of the catalog. */
export const catalogPrices: ListPrice[] = catalog.map(({ id, price }) => ({ model: id, ...price }))

/** The list price of a model that a local folder adds. */
export function localPrice(model: string): ListPrice {
  return { model, input_nanousd_per_token: '20', output_nanousd_per_token: '60' }
}

/** Gives each of these models the price, unless it has a list price already. */
export async function publishFirst(sql: postgres.Sql, prices: ListPrice[]): Promise<void> {
  const items = prices.map((price) => ({ ...price, only_first: true }))
  await sql`select api.publish_price(${JSON.stringify(items)}::text::jsonb)`
}
