// A neighbour's requests while somebody else abuses what they may call, and right after: all answer, and hardly later than alone.

import { Worker } from 'node:worker_threads'
import { expect } from 'vitest'
import { type Caller, model, startTestGateway, type TestGateway } from '../support/gateway.ts'
import type { Random } from '../support/random.ts'
import type { AbuseName, Attack, Result } from './attacker.ts'

export const names: readonly AbuseName[] = [
  'a kept answer is asked for again and again',
  'lists are read by many at once',
  'pages are turned to the end, by several keys',
  'sockets are opened and hardly used',
  'requests are refused by their limit',
  'keys are guessed',
  'bodies are as large and as wrong as they may be',
  'an Idempotency-Key comes with many bodies at once',
  'clients leave at every point',
  'as much is kept as may be',
  'keys are made, rotated and revoked',
]

/** Of requests a minute that a limited key has: what is abused beside it costs it nothing else. */
const FEW_PER_MINUTE = 2
const LIMITED = new Set<AbuseName>([
  'a kept answer is asked for again and again',
  'requests are refused by their limit',
])
const ROWS = 120

export async function startAbusedGateway(): Promise<TestGateway> {
  const gateway = await startTestGateway({ KEPT_BYTES_MAX: '20000000' })
  gateway.node.options.completion_tokens = 2000
  gateway.node.options.chunk_ms = 1 // between two tokens a node notices who has left
  return gateway
}

export interface Size {
  /** 1 is the whole. */
  scale: number
  /** How many requests of the neighbour's are timed, each time. */
  requests: number
}

interface Times {
  p50: number
  p99: number
}

export interface Outcome {
  before: Times
  during: Times
  after: Times
  statuses: Result['statuses']
}

/** All of the neighbour's requests answer; how long they take, before, during and right after. */
export async function abused(gateway: TestGateway, name: AbuseName, random: Random, size: Size): Promise<Outcome> {
  const neighbour = await gateway.newCaller()
  const keys = await abusersKeys(gateway, name)
  await timed(neighbour, 10)
  const before = await timed(neighbour, size.requests)
  const attack: Attack = { name, url: gateway.url, keys, model, seed: random.below(2 ** 31), scale: size.scale }
  const attacker = new Worker(new URL('attacker.ts', import.meta.url), { workerData: attack })
  try {
    const messages = messagesOf(attacker)
    await messages.next()
    const during = await timed(neighbour, size.requests)
    attacker.postMessage('over')
    const after = await timed(neighbour, size.requests)
    const { statuses } = (await messages.next()) as Result
    return { before, during, after, statuses }
  } finally {
    await attacker.terminate() // also where the neighbour was refused: what comes next is no longer abused by this one
  }
}

function messagesOf(worker: Worker): { next: () => Promise<unknown> } {
  const queue: unknown[] = []
  let wake = () => {}
  let failure: unknown = null
  worker.on('message', (message) => {
    queue.push(message)
    wake()
  })
  worker.on('error', (error) => {
    failure = error
    wake()
  })
  const next = async (): Promise<unknown> => {
    while (queue.length === 0 && failure === null)
      await new Promise<void>((resolve) => {
        wake = resolve
      })
    if (failure) throw failure
    return queue.shift()
  }
  return { next }
}

/** Some keys of one account that has used something, of which the first may do all. */
async function abusersKeys(gateway: TestGateway, name: AbuseName): Promise<string[]> {
  const { account_id } = await gateway.newCaller('1000000000000')
  const limits = LIMITED.has(name) ? { requests_per_minute: FEW_PER_MINUTE } : {}
  const made = await Promise.all(
    [{ scopes: ['admin'], ...limits }, { scopes: ['usage', 'keys'] }, { scopes: ['usage', 'keys'] }].map(
      async (fields) => {
        const answer = await gateway.admin('/admin/keys', { account_id, name: 'abuser', ...fields })
        return (await answer.json()) as { id: string; key: string }
      },
    ),
  )
  await gateway.db.sql`
    insert into reservations (request_id, account_id, key_id, model, price_version, amount_nanousd, attempt, state, expires_at, closed_at)
    select gen_random_uuid(), ${account_id}, ${made[0]!.id}, ${model}, 1, 0, 1, 'voided', clock_timestamp(), clock_timestamp()
    from generate_series(1, ${ROWS})`
  return made.map(({ key }) => key)
}

/** Generations and reads, one after the other. */
async function timed(neighbour: Caller, count: number): Promise<Times> {
  const times: number[] = []
  for (let i = 0; i < count; i += 1) {
    const started = performance.now()
    const answer =
      i % 4 === 3
        ? await neighbour.get('/v1/balance')
        : await neighbour.post('/v1/completions', { model, prompt: 'x', max_tokens: 3 })
    const said = await answer.text()
    times.push(performance.now() - started)
    expect(answer.status, said).toBe(200)
  }
  times.sort((a, b) => a - b)
  return { p50: times[Math.floor(count / 2)]!, p99: times[Math.ceil(0.99 * count) - 1]! }
}

// What a busy machine does to one process in a moment is no abuse: the bound follows what the neighbour took alone.
const P99_MS_MAX = 250
const TIMES_ALONE = 10

export function boundOf({ before }: Outcome): number {
  return Math.max(P99_MS_MAX, TIMES_ALONE * before.p99)
}
