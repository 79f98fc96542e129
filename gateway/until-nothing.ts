// A duty that is done in bounded pieces.

const RUN_MS_MAX = 40_000 // less than the minute until the next run

/** Calls until nothing is left to do, or the run has had its share: what is left then waits for the next. */
export async function untilNothing(call: () => Promise<{ count: number }>): Promise<void> {
  const end = Date.now() + RUN_MS_MAX
  while (Date.now() < end) if ((await call()).count === 0) return
}
