// Finds stop strings in a text that arrives in pieces. It holds back only the longest end of the text that may still
// become a stop, so nothing of a stop is ever delivered and nothing else waits. The stop that is complete first wins.

import { heldLength } from '../../held-length.ts'

export interface StopResult {
  text: string // what may be delivered now
  stop: string | null // that was found; all after it is dropped, and it as well unless it is to be included
}

interface Found {
  start: number
  end: number
  stop: string
}

export class StopMatcher {
  readonly #stops: readonly string[]
  readonly #include_stop: boolean
  #held = ''
  #passed = 0 // of what is held: no stop may end in it

  constructor(stops: readonly string[], include_stop = false) {
    this.#include_stop = include_stop
    this.#stops = stops.map((stop) => stop.toWellFormed()).filter((stop) => stop !== '')
  }

  push(text: string): StopResult {
    const buffer = this.#held + text
    const found = this.#firstComplete(buffer)
    if (found !== null) {
      this.#hold('')
      return { text: buffer.slice(0, this.#include_stop ? found.end : found.start), stop: found.stop }
    }
    return { text: this.#free(buffer), stop: null }
  }

  #free(buffer: string): string {
    const keep = Math.max(0, ...this.#stops.map((stop) => heldLength(buffer, stop)))
    const free = buffer.slice(0, buffer.length - keep)
    this.#hold(buffer.slice(free.length), this.#passed - free.length)
    return free
  }

  #hold(text: string, passed = 0): void {
    this.#held = text
    this.#passed = Math.max(0, passed)
  }

  /** The same for text that no stop may end in yet: one that begins in it is held back all the same. */
  pass(text: string): string {
    const free = this.#free(this.#held + text)
    this.#passed = this.#held.length
    return free
  }

  /** What was held back, once it is known that nothing follows. */
  flush(): string {
    const held = this.#held
    this.#hold('')
    return held
  }

  // By the end of the match, not its start: so the result does not depend on how the text was cut into pieces.
  #firstComplete(buffer: string): Found | null {
    let best: Found | null = null
    for (const stop of this.#stops) {
      const start = buffer.indexOf(stop, Math.max(0, this.#passed + 1 - stop.length))
      if (start < 0) continue
      const end = start + stop.length
      if (best === null || end < best.end || (end === best.end && start < best.start)) best = { start, end, stop }
    }
    return best
  }
}
