// Records of the last day on their way to a gateway whose database came back older: read as they are asked for, held until they are
// acknowledged.

import type { UsageRecord } from '../../contract/internal/sync.ts'

export class Resending {
  readonly #rest: Iterator<UsageRecord>
  readonly #sent = new Map<string, UsageRecord>()
  #is_read = false

  constructor(records: Iterable<UsageRecord>) {
    this.#rest = records[Symbol.iterator]()
  }

  get is_over(): boolean {
    return this.#is_read && this.#sent.size === 0
  }

  /** At most so many: what was not acknowledged comes again, before what follows. */
  next(limit: number): UsageRecord[] {
    while (this.#sent.size < limit && !this.#is_read) {
      const { value, done } = this.#rest.next()
      if (done) this.#is_read = true
      else this.#sent.set(`${value.request_id}/${value.attempt}`, value)
    }
    return this.#sent.values().take(limit).toArray()
  }

  acknowledge(keys: readonly string[]): void {
    for (const key of keys) this.#sent.delete(key)
  }
}
