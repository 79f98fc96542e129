// A stream whose client may be lost and come back. All that it said is kept, each event with its number, so that whoever goes on with it
// gets the same bytes. While nobody reads it its run is paused, and generates nothing that nobody may ever read.

import type { Generation } from '../answer/generation.ts'
import type { Client, ClientOptions } from './client.ts'
import type { Outgoing } from './open-client.ts'
import type { Reader } from './streams.ts'

/** A longer one ends with its client, as every stream does that nobody may resume. */
const SAID_LENGTH_MAX = 1 << 20 // UTF-16 units

export interface ResumableOptions {
  generation: Generation
  resume_ms_max: number
  open: (outgoing: Outgoing, told: Pick<ClientOptions, 'on_gone' | 'on_slow'>) => Client
  /** Nobody reads it, and nobody came back in time. */
  on_lost: () => void
  on_ended: () => void
}

interface Reading {
  client: Client
  outgoing: Outgoing
}

export class Resumable implements Reader {
  readonly #options: ResumableOptions
  #said = ''
  #event_count = 0
  #tokens = 0 // whose text is in what was said
  #delivered_tokens = 0 // to whichever client got furthest
  #reading: Reading | null = null
  #end_status: number | null = null
  #is_kept = true
  #grace: NodeJS.Timeout | undefined

  constructor(options: ResumableOptions) {
    this.#options = options
  }

  get delivered_tokens(): number {
    const { client } = this.#reading ?? {}
    if (client) this.#delivered_tokens = Math.max(this.#delivered_tokens, client.delivered_tokens)
    return this.#delivered_tokens
  }

  /** It waits for a client. */
  get is_held(): boolean {
    return this.#reading === null && this.#end_status === null
  }

  get said_length(): number {
    return this.#said.length
  }

  /** Whether a client that comes now gets it: one that reads it already is left alone where it is not to be taken over. */
  mayAttach({ takes_over }: { takes_over: boolean }): boolean {
    return this.#is_kept && (takes_over || this.#reading === null || this.#end_status !== null)
  }

  /** From the first event on. Whoever read it before is cut off. */
  attach(outgoing: Outgoing): void {
    const before = this.#reading
    this.#delivered_tokens = this.delivered_tokens
    clearTimeout(this.#grace)
    const client: Client = this.#options.open(outgoing, {
      on_gone: () => this.#lose(client),
      on_slow: (is_slow) => this.#isReading(client) && this.#options.generation.run.setPaused(is_slow),
    })
    this.#reading = { client, outgoing }
    before?.outgoing.destroy()
    if (this.#end_status === null) {
      this.#options.generation.run.setPaused(false)
      client.write(this.#said, this.#tokens)
    } else client.end(this.#said, this.#end_status)
  }

  /** Ends it, where nobody reads it. */
  giveUp(): void {
    clearTimeout(this.#grace)
    this.letGo()
    this.#options.on_lost()
  }

  /** From now on it ends with its client. */
  letGo(): void {
    this.#is_kept = false
    this.#said = ''
  }

  write(bytes: string, tokens: number): void {
    if (bytes === '') return
    const numbered = this.#keep(bytes)
    this.#tokens = tokens
    this.#reading?.client.write(numbered, tokens)
  }

  end(bytes: string, status: number): void {
    clearTimeout(this.#grace)
    this.#end_status = status
    const numbered = this.#keep(bytes)
    this.#reading?.client.end(numbered, status)
    this.#options.on_ended()
  }

  #keep(bytes: string): string {
    const numbered = this.#numbered(bytes)
    if (this.#said.length + numbered.length > SAID_LENGTH_MAX) this.letGo()
    if (this.#is_kept) this.#said += numbered
    return numbered
  }

  #numbered(bytes: string): string {
    if (bytes === '') return bytes
    const blocks = bytes.split(/(?<=\n\n)/)
    return blocks.map((block) => (block.startsWith(':') ? block : `id: ${this.#event_count++}\n${block}`)).join('')
  }

  #isReading(client: Client): boolean {
    return this.#reading?.client === client
  }

  #lose(client: Client): void {
    if (!this.#isReading(client)) return
    this.#delivered_tokens = this.delivered_tokens
    this.#reading = null
    if (this.#end_status !== null) return
    if (this.#is_kept) {
      this.#options.generation.run.setPaused(true)
      this.#grace = setTimeout(this.#options.on_lost, this.#options.resume_ms_max)
    } else this.#options.on_lost()
  }
}
