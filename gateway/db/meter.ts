// How much each key does of something, in a bucket each that drains evenly and holds a minute's worth (the same arithmetic as in
// migrations/ledger/limits.sql). It lives as long as its holder, a teller or an isolate: this limit protects neighbours, and no money
// depends on it.

const KEYS_MAX = 10_000

export class Meter {
  readonly #per_minute: number
  readonly #now_ms: () => number
  readonly #levels = new Map<string, { level: number; at_ms: number }>()

  constructor(per_minute: number, now_ms: () => number = Date.now) {
    this.#per_minute = per_minute
    this.#now_ms = now_ms
  }

  /** Whether there is no room for anything of the key's now. */
  isFull(key: string): boolean {
    return this.#drained(key, this.#now_ms()) + 1 > this.#per_minute
  }

  /** Whether the key may ask for something of this cost now; what is refused takes nothing. */
  take(key: string, cost: number): boolean {
    const at_ms = this.#now_ms()
    const drained = this.#drained(key, at_ms)
    if (drained + cost > this.#per_minute) return false
    this.#levels.delete(key) // the oldest are forgotten first
    this.#levels.set(key, { level: drained + cost, at_ms })
    if (this.#levels.size > KEYS_MAX) this.#levels.delete(this.#levels.keys().next().value!)
    return true
  }

  #drained(key: string, now_ms: number): number {
    const { level, at_ms } = this.#levels.get(key) ?? { level: 0, at_ms: now_ms }
    return Math.max(0, level - (this.#per_minute * Math.max(0, now_ms - at_ms)) / 60_000)
  }
}
