// How long tests wait for what must come, and when something that goes on is held to hang. Neither measures: no machine is so slow
// that it comes near.

export const PATIENCE_MS = 300_000
export const HANG_MS_MIN = 900_000

/** Polls until `read` gives something other than null; how long it took, in ms. */
export async function eventually<T>(
  read: () => Promise<T | null>,
  patience_ms = PATIENCE_MS,
): Promise<{ value: T; ms: number }> {
  const started = performance.now()
  for (;;) {
    const value = await read()
    const ms = performance.now() - started
    if (value !== null) return { value, ms }
    if (ms > patience_ms) throw new Error(`nothing came within ${patience_ms} ms`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}
