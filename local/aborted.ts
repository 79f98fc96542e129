// Waiting that ends when the caller gives up.

import { setTimeout as sleep } from 'node:timers/promises'

// postgres.js throws outside of every promise when its server ends while it writes: a statement in flight is waited for, not for ever.
export const STATEMENT_MS_MAX = 3000

/**
 * The promise's result, or the signal's reason when it is aborted and the promise has not settled `grace_ms` later. What the promise
 * would have made must be closed by whoever made it.
 */
export async function orAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined, grace_ms = 0): Promise<T> {
  if (!signal) return promise
  promise.catch(() => {}) // nobody may be left to hear of it
  const { promise: aborted, reject } = Promise.withResolvers<never>()
  const giveUp = async () => {
    await Promise.race([promise, sleep(grace_ms, null, { ref: false })]).catch(() => {})
    reject(signal.reason)
  }
  if (signal.aborted) void giveUp()
  signal.addEventListener('abort', giveUp)
  const result = await Promise.race([promise, aborted]).finally(() => signal.removeEventListener('abort', giveUp))
  signal.throwIfAborted()
  return result
}
