// Waiting that ends when the caller gives up.

/** The promise's result, or the signal's reason as soon as it is aborted. What the promise would have made must be closed by whoever made it. */
export async function orAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return promise
  promise.catch(() => {}) // nobody may be left to hear of it
  signal.throwIfAborted()
  const { promise: aborted, reject } = Promise.withResolvers<never>()
  const giveUp = () => reject(signal.reason)
  signal.addEventListener('abort', giveUp)
  return await Promise.race([promise, aborted]).finally(() => signal.removeEventListener('abort', giveUp))
}
