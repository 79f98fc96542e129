// What waits in front of a connection, by who asks: each party's in its order, and the parties in turn. So one that asks for a thousand
// things delays another by one of them.

interface Queued {
  party: string
  name: string
}

export class FairQueue<T extends Queued> {
  // In the order of their turns: a party that was served goes behind those that were not.
  readonly #parties = new Map<string, T[]>()
  #length = 0

  get length(): number {
    return this.#length
  }

  /** How many of a party wait. */
  waiting(party: string): number {
    return this.#parties.get(party)?.length ?? 0
  }

  push(queued: T): void {
    const own = this.#parties.get(queued.party)
    if (own) own.push(queued)
    else this.#parties.set(queued.party, [queued])
    this.#length += 1
  }

  /** Back to where they were, in order: before all that their parties asked since. */
  putBack(taken: readonly T[]): void {
    for (const queued of taken.toReversed()) {
      const own = this.#parties.get(queued.party)
      if (own) own.unshift(queued)
      else this.#parties.set(queued.party, [queued])
    }
    this.#length += taken.length
  }

  /** Some that ask for the same as the first: one of each party, then another of each, `count_max` at most. */
  next(count_max: number): T[] {
    const name = this.#parties.values().next().value?.[0]?.name
    const taken: T[] = []
    for (let before = -1; before !== taken.length && taken.length < count_max; ) {
      before = taken.length
      for (const own of this.#parties.values()) {
        if (taken.length < count_max && own[0]?.name === name) taken.push(own.shift()!)
      }
    }
    for (const party of new Set(taken.map((queued) => queued.party))) this.#requeue(party)
    this.#length -= taken.length
    return taken
  }

  /** Takes out the newest of who has the most waiting, if that is more than `party` has: its place is another's. */
  yieldTo(party: string): T | null {
    let most: T[] = []
    for (const theirs of this.#parties.values()) if (theirs.length > most.length) most = theirs
    if (most.length <= this.waiting(party) + 1) return null
    this.#length -= 1
    return most.pop()!
  }

  #requeue(party: string): void {
    const own = this.#parties.get(party)!
    this.#parties.delete(party)
    if (own.length > 0) this.#parties.set(party, own)
  }
}
