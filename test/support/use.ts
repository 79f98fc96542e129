// Usage without a gateway or a node: a request from its admission to its settlement, by the functions of the database alone.

import { randomUUID } from 'node:crypto'
import type { Payer, TestPostgres } from './postgres.ts'

export function publish(db: TestPostgres, model: string, input: number, output: number) {
  const cached_input_nanousd_per_token = String(Math.floor(input / 4))
  const price = { input_nanousd_per_token: String(input), output_nanousd_per_token: String(output) }
  return db.ask('publish_price', { model, ...price, cached_input_nanousd_per_token })
}

/** Returns its id. What is refused uses nothing. `wait` is called while it runs. */
export async function use(
  db: TestPostgres,
  payer: Payer,
  model: string,
  [prompt, completion]: [number, number],
  wait = async () => {},
): Promise<string> {
  const request_id = randomUUID()
  await db.ask('settle', { node: nodeOf(model) })
  const tokens = { prompt_tokens_max: prompt, request_output_tokens_max: completion, ttl_ms: 60_000 }
  const [admitted] = await db.ask('admit', { request_id, key_hash: payer.key_hash, model, ...tokens })
  await wait()
  if (admitted!.decision === 'admitted')
    await db.ask('settle', { ...payer, ...admitted, request_id, model, attempt: 1, ...counts(prompt, completion) })
  return request_id
}

/** Several that are admitted in one call, and settled in one, each with more of what its admission says. Returns their ids. */
export async function useTogether(db: TestPostgres, payer: Payer, model: string, more: object[]): Promise<string[]> {
  await db.ask('settle', { node: nodeOf(model) })
  const tokens = { prompt_tokens_max: 10, request_output_tokens_max: 5, ttl_ms: 60_000 }
  const items = more.map((own) => ({ request_id: randomUUID(), key_hash: payer.key_hash, model, ...tokens, ...own }))
  const admissions = await db.ask('admit', ...items)
  const settling = admissions.map((admitted, i) => {
    if (admitted.decision !== 'admitted') throw new Error(`admit answered ${admitted.decision}`)
    return { ...payer, ...admitted, request_id: items[i]!.request_id, model, attempt: 1, ...counts(10, 5) }
  })
  await db.ask('settle', ...settling)
  return items.map(({ request_id }) => request_id)
}

function counts(prompt_tokens: number, completion_tokens: number) {
  const tokens = { prompt_tokens, cached_tokens: Math.floor(prompt_tokens / 2), completion_tokens }
  const rest = { outcome: 'stop', started_unix_ms: 0, first_token_ms: null, duration_ms: 1 }
  return { ...tokens, delivered_tokens: completion_tokens, ...rest }
}

function nodeOf(model: string) {
  const numbers = { context_tokens: 1, running: 0, waiting: 0, blocks_total: 1, blocks_free: 1 }
  return { node_id: model, url: 'http://n', model, state: 'ready', ...numbers }
}
