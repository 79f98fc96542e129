// Whose turn it is at a large body. From its text to its hash it takes the isolate's only thread for milliseconds, and whoever sends a
// hundred of them and leaves, all at once, has them queue there: the runtime tells of a client that left politely only when it is
// written to. So one body is worked on at a time, and the parties in turn; what waits for long is refused.

import { FairQueue } from '../db/fair-queue.ts'

interface Waiting {
  party: string
  name: 'turn'
  settle: (is_mine: boolean) => void
  is_over: boolean
}

interface TurnsOptions {
  wait_ms_max: number
  /** A turn that lasts for longer is taken from who has it: the runtime may have ended their request. */
  turn_ms_max: number
}

export class Turns {
  readonly #options: TurnsOptions
  readonly #queue = new FairQueue<Waiting>()
  #began_ms: number | null = null // the turn that is taken

  constructor(options: TurnsOptions) {
    this.#options = options
  }

  /**
   * Resolves at the party's turn, which lasts until its caller next waits for something; false where that takes too long. What goes on
   * after the caller's request has ended is handed to `outlive`.
   */
  async mine(party: string, outlive: (work: Promise<void>) => void): Promise<boolean> {
    const is_mine = this.#isTaken || this.#queue.length > 0 ? await this.#inTurn(party) : true
    if (!is_mine) return false
    this.#began_ms = Date.now()
    outlive(
      new Promise<void>((passed) => {
        setTimeout(passed, 0) // behind what the caller does now
      }).then(() => this.#pass()),
    )
    return true
  }

  get #isTaken(): boolean {
    return this.#began_ms !== null && Date.now() - this.#began_ms < this.#options.turn_ms_max
  }

  #inTurn(party: string): Promise<boolean> {
    return new Promise((resolve) => {
      const { wait_ms_max, turn_ms_max } = this.#options
      const until_ms = Date.now() + wait_ms_max
      const waiting: Waiting = { party, name: 'turn', settle: resolve, is_over: false }
      const impatience = setInterval(
        () => {
          if (!this.#isTaken) this.#pass()
          else if (Date.now() >= until_ms) waiting.settle(false)
        },
        Math.min(turn_ms_max, wait_ms_max),
      )
      waiting.settle = (is_mine) => {
        clearInterval(impatience)
        waiting.is_over = true
        resolve(is_mine)
      }
      this.#queue.push(waiting)
      if (!this.#isTaken) this.#pass()
    })
  }

  #pass(): void {
    this.#began_ms = null
    while (this.#queue.length > 0 && this.#began_ms === null) {
      const [next] = this.#queue.next(1)
      if (next!.is_over) continue
      this.#began_ms = Date.now()
      next!.settle(true)
    }
  }
}
