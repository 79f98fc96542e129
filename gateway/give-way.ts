// Work that nobody waits for gives way to who waits for an answer. An isolate has one thread, and the database may be near it: what is
// done for a batch is done between such requests, where they leave time for it, and a little later where they do not.

/** Who waits for longer waits for something else than this isolate, or has left without a word. */
const HEAD_MS_MAX = 250
/** The first token of a stream often follows its head so soon. */
const TOKEN_MS = 25
const LOOK_MS = 2
const LOOKS_MAX = 20

/** In the order in which they came: those of the last HEAD_MS_MAX at most. */
export const awaited = new Set<{ until_ms: number }>()

/** Work that somebody waits for, up to the head of its answer and a little beyond. */
export async function beingAwaited<T>(work: () => Promise<T>): Promise<T> {
  forgetOld()
  const one = { until_ms: Date.now() + HEAD_MS_MAX }
  awaited.add(one)
  try {
    return await work()
  } finally {
    one.until_ms = Math.min(one.until_ms, Date.now() + TOKEN_MS)
  }
}

/**
 * A turn of the event loop, and some more while somebody is awaited. It looks again and again, for whom it waits for is another
 * request's; returns how often.
 */
export async function giveWay(looks_max = LOOKS_MAX): Promise<number> {
  let looks = 0
  do await new Promise((resolve) => setTimeout(resolve, looks === 0 ? 0 : LOOK_MS))
  while (isAnyAwaited() && ++looks < looks_max)
  return looks
}

const STEP_LOOKS_MAX = 500 // a second
const ITEMS_A_TURN = 4

/** The items of a step, a few at a time. Where somebody is always awaited, the step takes a second longer, and no more. */
export async function* inTurns<I>(items: Iterable<I> | AsyncIterable<I>): AsyncGenerator<I> {
  let count = 0
  let looks = 0
  for await (const item of items) {
    if (count++ % ITEMS_A_TURN === 0) looks += await giveWay(Math.min(LOOKS_MAX, STEP_LOOKS_MAX - looks))
    yield item
  }
}

function isAnyAwaited(): boolean {
  forgetOld()
  const now_ms = Date.now()
  return awaited.values().some(({ until_ms }) => until_ms > now_ms)
}

/** Up to the first that may still be awaited, so that a request costs no look at all others. */
function forgetOld(): void {
  const now_ms = Date.now()
  for (const one of awaited) {
    if (one.until_ms > now_ms) return
    awaited.delete(one)
  }
}
