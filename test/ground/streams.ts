// Streams of a service that is then stopped or killed, and what its ledger says of them.

import { join } from 'node:path'
import postgres from 'postgres'
import { startPostgres } from '../../local/postgres.ts'

export interface Ready {
  gateway_url: string
  api_key: string
  model: string
}

export type Reader = ReadableStreamDefaultReader<string>

/** A stream whose first bytes have come. */
export async function open({ gateway_url, api_key, model }: Ready): Promise<Reader> {
  const response = await fetch(`${gateway_url}/v1/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${api_key}`, 'content-type': 'application/json' },
    body: JSON.stringify({ model, prompt: 'def', max_tokens: 900, temperature: 1, ignore_eos: true, stream: true }),
  })
  if (!response.ok) throw new Error(`${response.status}: ${await response.text()}`)
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader()
  await reader.read()
  return reader
}

export async function rest(reader: Reader): Promise<string> {
  let text = ''
  for (;;) {
    const { value, done } = await reader.read()
    if (done) return text
    text += value
  }
}

/** What became of the requests of a data folder's own database, once nobody serves it. */
export async function states(data: string): Promise<object[]> {
  const database = await startPostgres({ data_dir: join(data, 'postgres') })
  const sql = postgres(database.url, { max: 1, fetch_types: false })
  const found = await sql`select state, count(*)::int from reservations group by state`
  await sql.end()
  await database.stop()
  return [...found]
}
