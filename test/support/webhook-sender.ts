// The gateway's own sender of webhooks in this process, which is cut off at whatever step a test says: before it or after it was done and
// nobody had heard. Its database may lose a question or an answer.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parse } from 'smol-toml'
import { onTestFinished, vi } from 'vitest'
import type { FunctionName } from '../../gateway/db/functions.ts'
import type { Env } from '../../gateway/env.ts'
import { deliverDue } from '../../gateway/webhook/deliver.ts'
import { admin_key } from './gateway.ts'
import { TICKET_SEED } from './keys.ts'
import type { TestPostgres } from './postgres.ts'
import type { Random } from './random.ts'

export interface SenderOptions {
  db: TestPostgres
  random: Random
  /** Resolves once a request that nobody answers has come. */
  untilHeard: (url: string, id: string) => Promise<void>
  /** Of the database's clock. */
  now_ms: () => number
  /** Hears of every attempt that was noted, and of a moment before that. */
  onNoted: (delivery_id: string, before_ms: number) => Promise<void>
}

const FAILS_OFTEN = 0.02
const NEVER = new Promise<never>(() => {})

export class Sender {
  readonly #options: SenderOptions
  readonly #controllers = new WeakMap<AbortSignal, AbortController>()

  constructor(options: SenderOptions) {
    this.#options = options
    // A deadline comes when the request that is to miss it has come: no machine is too slow then, nor too fast.
    const spy = vi.spyOn(AbortSignal, 'timeout').mockImplementation(() => {
      const controller = new AbortController()
      this.#controllers.set(controller.signal, controller)
      return controller.signal
    })
    onTestFinished(() => spy.mockRestore())
  }

  /** Sends all that is due; with `cut_at` it ends at that step, if it comes to it. Answers whether it was cut. */
  async run(cut_at: number | null): Promise<boolean> {
    const cut = Promise.withResolvers<true>()
    let steps = 0
    const isCut = () => {
      steps += 1
      if (cut_at === null || steps < cut_at) return false
      cut.resolve(true)
      return true
    }
    const step = async <T>(work: () => Promise<T>): Promise<T> => {
      if (isCut()) return NEVER
      const done = await work()
      return isCut() ? NEVER : done
    }
    const sent = deliverDue(this.#env(step), { send_ms: 3_600_000, wait_ms: 0 }).then(
      () => false,
      () => false, // the database was away: the next run goes on
    )
    return Promise.race([sent, cut.promise])
  }

  #env(step: <T>(work: () => Promise<T>) => Promise<T>): Env {
    const teller = {
      ask: (name: FunctionName, items: object[]) => step(() => this.#ask(name, items)),
      query: () => Promise.reject(new Error('nothing is read')),
    }
    return {
      ...settings(),
      TELLER: { idFromName: (name) => name, get: () => teller },
      RECEIVERS: { fetch: (url, init) => step(() => this.#fetch(String(url), init!)) },
    }
  }

  async #ask(name: FunctionName, items: object[]): Promise<object[] | 'unavailable'> {
    const { db, random, now_ms, onNoted } = this.#options
    if (random.chance(FAILS_OFTEN)) return 'unavailable'
    const before_ms = now_ms()
    const answers = await db.ask(name, ...items)
    const [item] = items as { attempt?: { delivery_id: string } | null }[]
    if (name === 'note_attempt' && item!.attempt && answers[0]!.decision === 'noted')
      await onNoted(item!.attempt.delivery_id, before_ms)
    if (random.chance(FAILS_OFTEN)) return db.ask(name, ...items) // whoever has lost the answer asks again
    return random.chance(FAILS_OFTEN) ? 'unavailable' : answers
  }

  async #fetch(url: string, init: RequestInit): Promise<Response> {
    const controller = this.#controllers.get(init.signal!)!
    const answer = fetch(url, init)
    const { 'webhook-id': id } = init.headers as Record<string, string>
    void this.#options.untilHeard(url, id!).then(() => controller.abort(new DOMException('', 'TimeoutError')))
    return answer
  }
}

export function settings(): Env {
  const root = join(import.meta.dirname, '../..')
  const { vars } = parse(readFileSync(join(root, 'wrangler.toml'), 'utf8')) as unknown as {
    vars: Record<string, string>
  }
  const database = { connectionString: 'postgres://nowhere/none' }
  const sieve = { limit: async () => ({ success: true }) }
  return {
    ...(vars as unknown as Env),
    HYPERDRIVE: database,
    HYPERDRIVE_READER: database,
    TICKET_SEEDS: TICKET_SEED,
    ADMIN_KEY: admin_key,
    FLOOD: sieve,
    FAILED_AUTHENTICATION: sieve,
    ASSETS: { fetch: () => Promise.reject(new Error('there are none')) },
  }
}
