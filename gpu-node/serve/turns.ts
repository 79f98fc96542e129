// Turns of the event loop for prompts that come in, the accounts in turn: of many that come at once, none keeps what runs waiting for
// all, and one account that sends a thousand delays another's by one.

export class Turns {
  readonly #waiting = new Map<string, (() => void)[]>() // by account, the next one first
  #is_running = false

  take(account: string): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    const own = this.#waiting.get(account)
    if (own) own.push(resolve)
    else this.#waiting.set(account, [resolve])
    if (!this.#is_running) void this.#run()
    return promise
  }

  async #run(): Promise<void> {
    this.#is_running = true
    while (this.#waiting.size > 0) {
      await new Promise(setImmediate)
      const [account, own] = this.#waiting.entries().next().value!
      own.shift()!()
      this.#waiting.delete(account)
      if (own.length > 0) this.#waiting.set(account, own) // behind the others
    }
    this.#is_running = false
  }
}
