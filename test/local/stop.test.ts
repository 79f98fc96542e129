// What Ctrl-C does to who is being served: each stream ends whole, and what it cost is settled before the process ends.

import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import postgres from 'postgres'
import { afterAll, expect, test } from 'vitest'
import { freePort } from '../../local/port.ts'
import { startPostgres } from '../../local/postgres.ts'
import { launch, nothingLeft, until } from '../ground/run.ts'

const STREAMS = 64
const root = join(import.meta.dirname, '../..')
const folder = mkdtempSync(join(tmpdir(), 'ziya-stop-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

test(`SIGINT under ${STREAMS} streams: each ends with [DONE], and all are settled before the exit`, async () => {
  const data = join(folder, 'data')
  const run = launch({ clone: root, data, args: ['--port', String(await freePort()), '--data', data] })
  await until('it serves', () => run.output().includes('Serving until'), 90_000)
  const ready = JSON.parse(readFileSync(join(data, 'ready.json'), 'utf8'))
  const streams = await Promise.all(Array.from({ length: STREAMS }, () => open(ready)))
  process.kill(-run.child.pid!, 'SIGINT')
  const endings = await Promise.all(streams.map(rest))
  expect(endings.filter((text) => text.endsWith('data: [DONE]\n\n'))).toHaveLength(STREAMS)
  expect(await run.ended, run.output()).toBe(0)
  await nothingLeft(run)
  expect(await states(data)).toEqual([{ state: 'posted', count: STREAMS + 1 }]) // one is the demo question
})

interface Ready {
  gateway_url: string
  api_key: string
  model: string
}

type Reader = ReadableStreamDefaultReader<string>

/** A stream whose first bytes have come. */
async function open({ gateway_url, api_key, model }: Ready): Promise<Reader> {
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

async function rest(reader: Reader): Promise<string> {
  let text = ''
  for (;;) {
    const { value, done } = await reader.read()
    if (done) return text
    text += value
  }
}

async function states(data: string): Promise<object[]> {
  const database = await startPostgres({ data_dir: join(data, 'postgres') })
  const sql = postgres(database.url, { max: 1, fetch_types: false })
  const found = await sql`select state, count(*)::int from reservations group by state`
  await sql.end()
  await database.stop()
  return [...found]
}
