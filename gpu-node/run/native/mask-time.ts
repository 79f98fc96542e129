// Time for the masks of grammars. Most are at hand, or made in a fraction of a millisecond; one that was made to hurt takes ten. So all that
// are made get a share of the time that passes, and what is left over waits while there is anybody else to compute for.

const SHARE = 1 / 3
const SAVED_MS_MAX = 8 // as long as one takes at most: so no step is held up by more than two

export class MaskTime {
  readonly #now: () => number
  #saved_ms = SAVED_MS_MAX
  #since: number

  constructor(now: () => number = () => performance.now()) {
    this.#now = now
    this.#since = now()
  }

  get is_left(): boolean {
    const now = this.#now()
    this.#saved_ms = Math.min(SAVED_MS_MAX, this.#saved_ms + SHARE * (now - this.#since))
    this.#since = now
    return this.#saved_ms > 0
  }

  /** Makes one, which may take more than is left: the next ones wait the longer. */
  spend(make: () => void): void {
    const began = this.#now()
    make()
    this.#saved_ms -= this.#now() - began
  }
}
