// Spreads the work for many streams over turns of the event loop, so that whoever else waits for it is not kept waiting by all
// of them.

const TURN_MS = 2
const FLUSH_ITEMS = 8

/** A turn of the event loop, that ends after so much work. */
export class Turn {
  #began: number
  #items = 0

  constructor(began_ms: number) {
    this.#began = began_ms
  }

  async mayEnd(): Promise<void> {
    // Sockets send what they were given when a tick ends, and that is most of the work.
    if (++this.#items % FLUSH_ITEMS === 0) await new Promise(process.nextTick)
    if (performance.now() - this.#began < TURN_MS) return
    await new Promise(setImmediate)
    this.#began = performance.now()
  }
}
