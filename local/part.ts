// One of the three parts (Postgres, gateway, node) over its lives: started, started again when it ended by itself, stopped.

import { setTimeout as sleep } from 'node:timers/promises'
import type { Exit } from './children.ts'

export interface Running {
  exited: Promise<Exit>
  stop(): Promise<void>
}

// A part that lived for so long is not one that cannot live: its next pause is short again.
const HEALTHY_MS_MIN = 60_000
const PAUSE_MS_MIN = 500
const PAUSE_MS_MAX = 30_000

export class Part<R extends Running> {
  readonly #name: string
  readonly #launch: (signal: AbortSignal) => Promise<R>
  readonly #stopping = new AbortController()
  #current: R | null = null
  #starting: Promise<R> | null = null
  #keeping: Promise<void> | null = null

  constructor(name: string, launch: (signal: AbortSignal) => Promise<R>) {
    this.#name = name
    this.#launch = launch
  }

  get current(): R {
    if (!this.#current) throw new Error(`the ${this.#name} does not run`)
    return this.#current
  }

  async start(): Promise<R> {
    const signal = this.#stopping.signal
    signal.throwIfAborted()
    this.#starting = this.#launch(signal)
    this.#current = await this.#starting
    return this.#current
  }

  /** From now on it is started again whenever it ends, after a pause that grows while it keeps ending; `say` hears of both. */
  keepUp(say: (line: string) => void): void {
    this.#keeping = this.#keep(say)
  }

  /** Ends it, or its start, or the pause before one. */
  async stop(): Promise<void> {
    this.#stopping.abort(new Error(`the ${this.#name} is being stopped`))
    await Promise.allSettled([this.#starting, this.#keeping])
    await this.#current?.stop()
  }

  async #keep(say: (line: string) => void): Promise<void> {
    for (let failures = 0; ; failures++) {
      const begun = performance.now()
      const exit = await Promise.race([this.current.exited, aborted(this.#stopping.signal)])
      if (!exit || this.#stopping.signal.aborted) return
      if (performance.now() - begun > HEALTHY_MS_MIN) failures = 0
      failures = await this.#startAgain(`ended (${exit.signal ?? `code ${exit.code}`})`, failures, say)
    }
  }

  async #startAgain(why: string, failures: number, say: (line: string) => void): Promise<number> {
    const pause_ms = Math.min(PAUSE_MS_MAX, PAUSE_MS_MIN * 2 ** failures)
    say(`✗ the ${this.#name} ${why}; starting it again in ${pause_ms / 1000} s`)
    try {
      await sleep(pause_ms, null, { signal: this.#stopping.signal })
      await this.start()
      say(`✓ the ${this.#name} runs again`)
      return failures
    } catch (error) {
      if (this.#stopping.signal.aborted) return failures
      return this.#startAgain(`did not start (${(error as Error).message.split('\n')[0]})`, failures + 1, say)
    }
  }
}

function aborted(signal: AbortSignal): Promise<null> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve(null)
    signal.addEventListener('abort', () => resolve(null), { once: true })
  })
}
