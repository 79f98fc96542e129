// Who was refused a moment ago, as an isolate remembers it: asked again within that moment they are refused without asking anybody.

const REMEMBERED_MAX = 10_000

export class RecentRefusals {
  readonly #for_ms: number
  readonly #now_ms: () => number
  readonly #refused_ms = new Map<string, number>()

  constructor(for_ms: number, now_ms: () => number = Date.now) {
    this.#for_ms = for_ms
    this.#now_ms = now_ms
  }

  /** Null is nobody, who is never refused. */
  has(asker: string | null): boolean {
    const refused_ms = asker === null ? undefined : this.#refused_ms.get(asker)
    return refused_ms !== undefined && this.#now_ms() - refused_ms < this.#for_ms
  }

  add(asker: string | null): void {
    if (asker === null) return
    this.#refused_ms.delete(asker) // the oldest are forgotten first
    this.#refused_ms.set(asker, this.#now_ms())
    if (this.#refused_ms.size > REMEMBERED_MAX) this.#refused_ms.delete(this.#refused_ms.keys().next().value!)
  }
}
