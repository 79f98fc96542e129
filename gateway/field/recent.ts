// What was read within this second is read again for nobody: for what anybody may ask, and costs the database something.

const RECENT_MS = 1000

/** A result is kept, an error is not. (Promises are not shared: each belongs to the request that made it.) */
export function recently<A, T>(read: (from: A) => Promise<T>): (from: A) => Promise<T> {
  let last: { result: T; at_ms: number } | null = null
  return async (from) => {
    const at_ms = Date.now()
    if (!last || at_ms - last.at_ms >= RECENT_MS) last = { result: await read(from), at_ms }
    return last.result
  }
}
