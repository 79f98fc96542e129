// The list price that a model starts with that a local folder adds: no catalog has it. Later ones are the operator's to publish.

import { askOver, connect } from '../gateway/db/connection.ts'
import { clientOf } from './database.ts'

export interface ListPrice {
  model: string
  input_nanousd_per_token: string
  output_nanousd_per_token: string
}

/** The list price of a model that a local folder adds. */
export function localPrice(model: string): ListPrice {
  return { model, input_nanousd_per_token: '20', output_nanousd_per_token: '60' }
}

const PUBLISH_MS_MAX = 60_000

/** Gives each of these models the price, unless it has a list price already. */
export async function publishFirst(database_url: string, prices: ListPrice[]): Promise<void> {
  const { url, ...through } = clientOf(database_url)
  const connection = connect(url, PUBLISH_MS_MAX, through)
  try {
    await askOver(connection, 'publish_price', ...prices.map((price) => ({ ...price, only_first: true })))
  } finally {
    connection.discard()
  }
}
