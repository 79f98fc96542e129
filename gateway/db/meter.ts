// How much a key asks of a teller, in a bucket each that drains evenly and holds a minute's worth (the same arithmetic as in
// migrations/ledger/limits.sql). It lives as long as the teller: this limit protects neighbours, and no money depends on it.

const KEYS_MAX = 10_000

export class Meter {
  readonly #per_minute: number
  readonly #now_ms: () => number
  readonly #levels = new Map<string, { level: number; at_ms: number }>()

  constructor(per_minute: number, now_ms: () => number = Date.now) {
    this.#per_minute = per_minute
    this.#now_ms = now_ms
  }

  /** Whether the key may ask for something of this cost now; what is refused takes nothing. */
  take(key: string, cost: number): boolean {
    const at_ms = this.#now_ms()
    const { level, at_ms: before_ms } = this.#levels.get(key) ?? { level: 0, at_ms }
    const drained = Math.max(0, level - (this.#per_minute * Math.max(0, at_ms - before_ms)) / 60_000)
    if (drained + cost > this.#per_minute) return false
    this.#levels.delete(key) // the oldest are forgotten first
    this.#levels.set(key, { level: drained + cost, at_ms })
    if (this.#levels.size > KEYS_MAX) this.#levels.delete(this.#levels.keys().next().value!)
    return true
  }
}
